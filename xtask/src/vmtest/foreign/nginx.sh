# nginx under eptrace and strace. In: $BACKEND, $LISTEN (options of `listen`), $MUTEX (on or off), $WORKERS, $REQUESTS.
# Out: one line of JSON, what the client and nginx itself counted; what strace saw, in strace.TID; the trace.
# A request is made only when every worker sleeps in epoll_wait, so that the kernel has no choice whom to wake.
mkdir -p logs && echo root:x:0: > /etc/group || exit 1
cat > nginx.conf << END
user root;
daemon off;
pid logs/pid;
worker_processes $WORKERS;
error_log stderr;
events { use epoll; accept_mutex $MUTEX; worker_connections 64; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen 127.0.0.1:8080 $LISTEN;
        location / { return 200 "ok\n"; }
        location = /status { stub_status; }
    }
}
END
rm -f logs/pid strace.*
eptrace record --io -o nginx.arrow --backend $BACKEND -- strace -ff -qq -v -o strace -e trace=$CALLS \
    nginx -p $PWD -c nginx.conf -e stderr > said 2>&1 &
tracer=$!
alive() { kill -0 $tracer 2> /dev/null || { echo "nginx or eptrace ended too early:"; cat said; exit 1; }; }
asleep() {
    sleeping=0
    for task in $(cat /proc/$(cat logs/pid)/task/*/children); do
        # Inside of epoll_wait (232) or epoll_pwait (281), asleep and not stopped by strace: what 5.10 shows as well.
        grep -qE '^(232|281) ' /proc/$task/syscall && grep -q '^State:.S' /proc/$task/status && sleeping=$((sleeping + 1))
    done 2> /dev/null
    [ $sleeping -eq $WORKERS ]
}
until [ -s logs/pid ]; do alive; usleep 20000; done
made=0
while [ $made -lt $REQUESTS ]; do
    until asleep; do alive; usleep 5000; done
    [ "$(wget -q -O - http://127.0.0.1:8080/)" = ok ] || { echo "a request failed"; exit 1; }
    made=$((made + 1))
done
until asleep; do alive; usleep 5000; done
status=$(wget -q -O - http://127.0.0.1:8080/status) || exit 1
made=$((made + 1))
until asleep; do alive; usleep 5000; done
kill -QUIT $(cat logs/pid)
wait $tracer || { echo "the recording failed:"; cat said; exit 1; }
set -- $(echo "$status" | sed -n 3p)
echo "{\"connections\":$made,\"accepts\":$1,\"handled\":$2,\"requests\":$3}"
