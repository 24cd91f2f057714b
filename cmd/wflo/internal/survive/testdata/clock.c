/*
 * A clock that is wrong. Loaded before the C library, it adds so many seconds to the time of day
 * as a file says, which is read each time: so the clock of a running server can jump. What
 * measures how long something takes is left alone, as it is on a machine whose clock is set.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long off(void)
{
	char text[32];
	const char *path = getenv("WRONG_CLOCK");
	int f = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n = f < 0 ? 0 : read(f, text, sizeof text - 1);

	if (f >= 0)
		close(f);
	text[n > 0 ? n : 0] = 0;
	return atol(text);
}

int clock_gettime(clockid_t which, struct timespec *now)
{
	int err = syscall(SYS_clock_gettime, which, now);

	if (err == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
		now->tv_sec += off();
	return err;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec t;
	int err = clock_gettime(CLOCK_REALTIME, &t);

	now->tv_sec = t.tv_sec;
	now->tv_usec = t.tv_nsec / 1000;
	return err;
}

time_t time(time_t *into)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	if (into)
		*into = t.tv_sec;
	return t.tv_sec;
}
