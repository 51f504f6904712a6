# Drives `eptrace top` in a real terminal, tmux: keys, sizes, and every way it can end; and looks at what `eptrace record` shows there.
# In: TOP, top's arguments; SHOWS, what stands on its screen; RECORD, a command to record while it runs, none where nothing can be
# traced; TRIES, how often a screen is looked at. Out: a line for each thing that holds; at the first that does not, the screen, and exit 1.
export LC_ALL=C.UTF-8 RUST_BACKTRACE=0
rm -rf terminal && mkdir terminal && cd terminal || exit 1
run=0

t() { tmux -L eptrace-test -f /dev/null "$@"; }
screen() { t capture-pane -p -t top; }
fail() { echo "FAILED: $1"; screen; t kill-server; exit 1; }
# A screen changes when the program behind it gets to it: it is looked at until it does, or the time is up.
until_() {
    tries=0
    until "$@" > /dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt "$TRIES" ] || fail "not seen: $*"
        sleep 0.1 2> /dev/null || usleep 100000
    done
}
on_screen() { screen | grep -qF -- "$1"; }
not_on_screen() { ! screen | grep -qF -- "$1"; }
shows() { until_ on_screen "$1"; }
key() { t send-keys -t top "$@"; }
ok() { echo "ok $1"; }

# Starts it from a shell in the terminal, which waits for it and writes down how it ended.
start() {
    run=$((run + 1))
    rm -f ended pid
    key "clear; stty -g > before; sh -c 'echo \$\$ > pid; exec eptrace top $1'; echo \$? > ended; stty -g > after" Enter
    shows "EVENTPOLL"
    [ "$(t display-message -p -t top '#{alternate_on}')" = 1 ] || fail "it does not use the alternate screen"
}

# It has ended with this code, and the terminal is as it was.
clean() {
    until_ test -s after
    [ "$(cat ended)" = "$1" ] || fail "$2: it ended with $(cat ended)"
    cmp -s before after || fail "$2: the terminal's modes are others"
    [ "$(t display-message -p -t top '#{alternate_on} #{cursor_flag} #{mouse_any_flag}')" = "0 1 0" ] ||
        fail "$2: the screen or the cursor was not given back"
    rm -f before after
    ok "$2 leaves the terminal clean"
}

t kill-server 2> /dev/null
t new-session -d -s top -x 80 -y 24 sh || { echo "tmux does not start"; exit 1; }

start "$TOP"
shows "nothing lost"
shows "$SHOWS"
ok "it shows $SHOWS at 80 by 24"
key s; shows "by waits"
key r; shows "by waits (reversed)"
key r
key p; shows "PAUSED"
key p; until_ not_on_screen "PAUSED"
key /; shows "filter: _"
key zzz; shows "filter: zzz_"
key Enter; shows "nothing that the filter lets through"
key /; shows "filter: zzz_"
key C-u; shows "$SHOWS"
key '?'; shows "the ready list now, as it is reconstructed"
key '?'; shows "EVENTPOLL"
key g; key Down; key Enter; shows "items of "; shows "EPOLLIN"
key t; shows "tasks of "; shows "RETURNED"
key Escape; shows "items of "
key Escape; shows "EVENTPOLL"
ok "keys sort, pause, filter, and lead down and back"
t resize-window -t top -x 40 -y 10
until_ not_on_screen "WOKEN/s"
t resize-window -t top -x 120 -y 40; shows "? help"
t resize-window -t top -x 80 -y 24; shows "WOKEN/s"
ok "it follows the terminal's size"
key q; clean 0 "q"

start "$TOP"; key C-c; clean 0 "Ctrl-C"
start "$TOP"; kill -TERM "$(cat pid)"; clean 0 "SIGTERM"
key "clear; stty -g > before; eptrace top --crash $TOP; echo \$? > ended; stty -g > after" Enter
clean 101 "a panic"
on_screen "asked to panic" || fail "the panic was not reported on the screen that is left"

if [ -n "$RECORD" ]; then
    rm -f ended
    key "$RECORD > /dev/null &" Enter
    key "clear; eptrace record --backend kprobe -o live.eptrace -p \$!; echo \$? > ended; kill \$!" Enter
    shows " a second, "
    on_screen " written, " || fail "the size of the file is not shown"
    key C-c
    until_ test -s ended
    [ "$(cat ended)" = 0 ] || fail "a recording that Ctrl-C ended gave $(cat ended)"
    shows "bytes in live.eptrace"
    on_screen " a second, " && fail "the progress was left on the screen"
    eptrace report live.eptrace > report 2> said || fail "there is no report of the recording"
    [ ! -s said ] || { cat said; fail "the recording is not whole"; }
    rm -f live.eptrace
    ok "a recording shows how far it is, and leaves nothing of that"
fi
t kill-server
