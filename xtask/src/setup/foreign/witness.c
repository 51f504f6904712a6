/*
 * A witness inside a program under trace: what its threads called, and what they were answered.
 *
 * Linked with `-Wl,--wrap=...`, so that the program's own calls pass through here on their way to the C library. Each
 * thread counts into a slot of its own; the slots lie in memory that forked children share. When the first process
 * exits, all slots are written as JSON to the file that WITNESS names, in the order of each thread's first call.
 * Nothing here knows of any tracer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 16384

/* The names are those of a report's columns; `slept` and those behind it are the witness's own. */
#define COUNTS(X)                                                                                                      \
	X(ctl_add) X(ctl_mod) X(ctl_del) X(ctl_other) X(ctl_failed)                                                    \
	X(waits) X(waits_returned) X(events) X(timeouts) X(interrupted) X(wait_errors) X(waits_open)                   \
	X(slept) X(slept_and_returned) X(slept_before_write) X(could_sleep) X(unknown_calls)

struct slot {
	int pid, tid;
#define FIELD(name) unsigned long name;
	COUNTS(FIELD)
};

struct record {
	int creator;
	atomic_int used;
	struct slot slots[SLOTS];
};

static struct record *record;
static __thread struct slot *mine;
/* When this process first wrote anything, in nanoseconds; a forked child starts with its parent's, which writes nothing. */
static _Atomic long first_write;

int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __real_epoll_wait(int epfd, struct epoll_event *events, int max, int timeout);
int __real_epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout, const sigset_t *mask);
long __real_syscall(long number, ...);
ssize_t __real_write(int fd, const void *bytes, size_t count);

/* A witness that cannot count must not let the program go on uncounted. */
static void give_up(const char *why)
{
	perror(why);
	abort();
}

__attribute__((constructor)) static void begin(void)
{
	record = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (record == MAP_FAILED)
		give_up("witness: mmap");
	record->creator = getpid();
}

__attribute__((destructor)) static void end(void)
{
	const char *path = getenv("WITNESS");
	FILE *out;

	if (path == NULL || getpid() != record->creator)
		return;
	out = fopen(path, "w");
	if (out == NULL)
		give_up(path);
	fputs("{\"tasks\":[", out);
	for (int i = 0; i < record->used && i < SLOTS; i++) {
		const struct slot *slot = &record->slots[i];

		fprintf(out, "%s\n{\"pid\":%d,\"tid\":%d", i == 0 ? "" : ",", slot->pid, slot->tid);
#define PRINT(name) fprintf(out, ",\"" #name "\":%lu", slot->name);
		COUNTS(PRINT)
		fputs("}", out);
	}
	fputs("]}\n", out);
	if (fclose(out) != 0)
		give_up(path);
}

static struct slot *own(void)
{
	int pid = getpid();

	/* A forked child starts with a copy of its parent's pointer. */
	if (mine == NULL || mine->pid != pid) {
		int next = atomic_fetch_add(&record->used, 1);

		if (next >= SLOTS) {
			errno = ENOSPC;
			give_up("witness: too many threads");
		}
		mine = &record->slots[next];
		mine->pid = pid;
		mine->tid = (int)__real_syscall(SYS_gettid);
	}
	return mine;
}

/* How often this thread has gone to sleep. */
static long sleeps(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_THREAD, &usage) != 0)
		give_up("witness: getrusage");
	return usage.ru_nvcsw;
}

static long now(void)
{
	struct timespec time;

	if (clock_gettime(CLOCK_MONOTONIC, &time) != 0)
		give_up("witness: clock_gettime");
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

static struct slot *wait_begins(int may_sleep)
{
	struct slot *slot = own();

	slot->waits_open++;
	slot->could_sleep += may_sleep;
	return slot;
}

static void wait_ends(struct slot *slot, long begun, long slept, long result)
{
	slot->waits_open--;
	if (result < 0 && errno == ENOSYS) {
		/* The kernel has no such call: nothing waited. */
		slot->unknown_calls++;
		return;
	}
	slot->waits++;
	slot->slept += slept != 0;
	if (result > 0) {
		slot->waits_returned++;
		slot->events += (unsigned long)result;
		slot->slept_and_returned += slept != 0;
		/* A wait that began later may have slept for the eventpoll's mutex alone. */
		slot->slept_before_write += slept != 0 && begun < first_write;
	} else if (result == 0) {
		slot->timeouts++;
	} else if (errno == EINTR) {
		slot->interrupted++;
	} else {
		slot->wait_errors++;
	}
}

/* Passes a wait on and counts it; errno stays what the call made it. */
#define COUNTED(may_sleep, call)                                                                                       \
	({                                                                                                             \
		struct slot *slot = wait_begins(may_sleep);                                                            \
		long begun = now(), before = sleeps();                                                                                \
		long result = (call);                                                                                  \
		int error = errno;                                                                                     \
		long slept = sleeps() - before;                                                                        \
		errno = error;                                                                                         \
		wait_ends(slot, begun, slept, result);                                                                        \
		errno = error;                                                                                         \
		result;                                                                                                \
	})

int __wrap_epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	return (int)COUNTED(timeout != 0, __real_epoll_wait(epfd, events, max, timeout));
}

int __wrap_epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout, const sigset_t *mask)
{
	return (int)COUNTED(timeout != 0, __real_epoll_pwait(epfd, events, max, timeout, mask));
}

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	struct slot *slot = own();
	int result = __real_epoll_ctl(epfd, op, fd, event);

	switch (op) {
	case EPOLL_CTL_ADD:
		slot->ctl_add++;
		break;
	case EPOLL_CTL_MOD:
		slot->ctl_mod++;
		break;
	case EPOLL_CTL_DEL:
		slot->ctl_del++;
		break;
	default:
		slot->ctl_other++;
	}
	slot->ctl_failed += result != 0;
	return result;
}

ssize_t __wrap_write(int fd, const void *bytes, size_t count)
{
	long never = 0;

	atomic_compare_exchange_strong(&first_write, &never, now());
	return __real_write(fd, bytes, count);
}

/* Programs reach epoll_pwait2 by its number where their C library does not know it. */
long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
#ifdef SYS_epoll_pwait2
	if (number == SYS_epoll_pwait2) {
		const struct timespec *timeout = (const struct timespec *)a[3];
		int may_sleep = timeout == NULL || timeout->tv_sec != 0 || timeout->tv_nsec != 0;

		return COUNTED(may_sleep, __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]));
	}
#endif
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
