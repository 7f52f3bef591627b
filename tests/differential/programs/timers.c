/* Interval timers and alarms: while computing, sleeping, pausing, and blocked in a read. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int alarms, virtual_alarms;

static void on_alarm(int signo)
{
	if (signo == SIGALRM)
		alarms++;
	else
		virtual_alarms++;
}

static void set(int which, long first, long interval)
{
	struct itimerval value = { { 0, interval }, { 0, first } };

	alarms = virtual_alarms = 0;
	setitimer(which, &value, 0);
}

int main(void)
{
	struct itimerval left;
	struct timespec nap = { 5, 0 }, rest;
	volatile double x = 1;
	struct sigaction sa = { .sa_handler = on_alarm };
	int ends[2], done;
	char byte;

	sigaction(SIGALRM, &sa, 0);
	sigaction(SIGVTALRM, &sa, 0);
	sigaction(SIGPROF, &sa, 0);
	set(ITIMER_REAL, 20000, 0);
	while (!alarms)
		x *= 1.0000001;
	printf("computing: %d\n", alarms);
	set(ITIMER_REAL, 5000, 5000);
	while (alarms < 3)
		pause();
	set(ITIMER_REAL, 0, 0);
	getitimer(ITIMER_REAL, &left);
	printf("pausing; left %ld %ld\n", (long)left.it_value.tv_sec, (long)left.it_value.tv_usec);
	set(ITIMER_VIRTUAL, 20000, 0);
	while (!virtual_alarms)
		x *= 1.0000001;
	set(ITIMER_PROF, 20000, 0);
	while (!virtual_alarms)
		x *= 1.0000001;
	puts("virtual and profiling");
	/* Again and again: on a slow machine the first may come before the call that it shall end. */
	set(ITIMER_REAL, 20000, 20000);
	done = nanosleep(&nap, &rest); /* before the printf: C does not say which argument comes first */
	printf("nanosleep %d errno %d", done, errno);
	printf(" left %ld\n", (long)rest.tv_sec);
	if (pipe(ends))
		return 1;
	set(ITIMER_REAL, 20000, 20000);
	done = (int)read(ends[0], &byte, 1);
	printf("read %d errno %d alarms %d\n", done, errno, alarms > 0);
	set(ITIMER_REAL, 0, 0);
	printf("alarm %u", alarm(10));
	printf(" then %u\n", alarm(0));
	return x > 1e300;
}
