# memcached under eptrace. In: $BACKEND, $HOW (`command`: from its start, with strace as a witness; `pid`: attached while all
# its threads sleep), $THREADS, $REQUESTS.
# Out: one line of JSON, what the client and memcached itself counted; what strace saw, in strace.TID; the trace.
# A connection is made only when every thread sleeps in epoll_wait.
rm -f strace.* ready
server="memcached -u root -l 127.0.0.1 -p 11211 -t $THREADS"
if [ $HOW = command ]; then
    eptrace record --io -o memcached.arrow --backend $BACKEND -- strace -ff -qq -v -o strace -e trace=$CALLS $server > said 2>&1 &
else
    $server > said 2>&1 &
fi
watched=$!
alive() { kill -0 $watched 2> /dev/null || { echo "memcached or eptrace ended too early:"; cat said; exit 1; }; }
asleep() {
    sleeping=0
    for task in /proc/$pid/task/*; do
        # Inside of epoll_wait (232) or epoll_pwait (281), asleep and not stopped by strace: what 5.10 shows as well.
        grep -qE '^(232|281) ' $task/syscall && grep -q '^State:.S' $task/status && sleeping=$((sleeping + 1))
    done 2> /dev/null
    [ $sleeping -eq $((THREADS + 1)) ]
}
until pid=$(pidof memcached); do alive; usleep 20000; done
until asleep; do alive; usleep 5000; done
if [ $HOW = pid ]; then
    eptrace record --io -o memcached.arrow --backend $BACKEND -p $pid --ready-file ready > recorded 2>&1 &
    tracer=$!
    until [ -e ready ]; do kill -0 $tracer || { cat recorded; exit 1; }; usleep 20000; done
fi
talk() { printf "$1quit\r\n" | nc 127.0.0.1 11211 | tr -d '\r'; }
made=0
while [ $made -lt $REQUESTS ]; do
    until asleep; do alive; usleep 5000; done
    talk "set k 0 0 1\r\n1\r\nget k\r\n" > answer
    [ "$(tr '\n' ' ' < answer)" = "STORED VALUE k 0 1 1 END " ] || { echo "a request failed:"; cat answer; exit 1; }
    made=$((made + 1))
done
until asleep; do alive; usleep 5000; done
talk "stats\r\n" > answer
made=$((made + 1))
until asleep; do alive; usleep 5000; done
if [ $HOW = pid ]; then
    kill -INT $tracer
    wait $tracer || { echo "the recording failed:"; cat recorded; exit 1; }
fi
kill -TERM $pid
wait $watched || { echo "memcached or its recording failed:"; cat said; exit 1; }
stat() { sed -n "s/^STAT $1 //p" answer; }
echo "{\"connections\":$made,\"total_connections\":$(stat total_connections),\"cmd_get\":$(stat cmd_get),\"cmd_set\":$(stat cmd_set)}"
