/* Signals as a process sends them to itself: masks, nesting, resets, waiting, timers, alternate stacks. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static char altstack[65536];
static volatile int depth, order[64], n;

static void note(int what) { order[n++ & 63] = what; }

static void plain(int signo) { note(signo); }

static void nested(int signo)
{
	int mine = ++depth;

	note(signo * 10 + mine);
	if (depth < 3)
		raise(signo);
	note(signo * 10 - mine);
}

static void with_info(int signo, siginfo_t *info, void *context)
{
	sigset_t now;
	char here;

	(void)context;
	sigprocmask(SIG_BLOCK, 0, &now);
	printf("  signal %d code %d mine %d value %d masked %d%d alt %d\n", signo, info->si_code, info->si_pid == getpid(),
		info->si_value.sival_int, sigismember(&now, signo), sigismember(&now, SIGUSR2),
		&here >= altstack && &here < altstack + sizeof altstack);
}

static void show(const char *what)
{
	printf("%s:", what);
	for (int i = 0; i < n; i++)
		printf(" %d", order[i]);
	printf("\n");
	n = 0;
}

static void on(int signo, void (*f)(int), int flags)
{
	struct sigaction action = { .sa_handler = f, .sa_flags = flags }, got;

	sigaction(signo, &action, 0);
	sigaction(signo, 0, &got);
	printf("installed %d same %d flags %x\n", signo, got.sa_handler == f, got.sa_flags & 0x7fffffff & ~0x04000000);
}

int main(void)
{
	struct sigaction info = { .sa_sigaction = with_info, .sa_flags = SA_SIGINFO | SA_ONSTACK }, old;
	stack_t stack = { .ss_sp = altstack, .ss_size = sizeof altstack }, tiny = { .ss_sp = altstack, .ss_size = 100 };
	struct itimerval timer = { .it_value = { 0, 20000 } };
	struct timespec moment = { 0, 1000000 }, none = { 0, 0 };
	sigset_t set, empty, pending;
	siginfo_t got;
	union sigval value = { 42 };

	sigemptyset(&empty);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	on(SIGUSR1, plain, 0);
	on(SIGUSR2, plain, SA_RESETHAND);
	raise(SIGUSR1), raise(SIGUSR2);
	sigaction(SIGUSR2, 0, &old);
	printf("reset to default %d\n", old.sa_handler == SIG_DFL);
	show("two");
	on(SIGUSR1, nested, SA_NODEFER);
	raise(SIGUSR1);
	show("nested");
	on(SIGUSR1, nested, 0);
	depth = 0;
	raise(SIGUSR1);
	show("deferred");
	depth = 0;
	on(SIGUSR1, plain, 0), on(SIGUSR2, plain, 0);
	sigprocmask(SIG_BLOCK, &set, 0);
	raise(SIGUSR2), raise(SIGUSR1), raise(SIGUSR1);
	sigpending(&pending);
	printf("pending %d%d%d\n", sigismember(&pending, SIGUSR1), sigismember(&pending, SIGUSR2), sigismember(&pending, SIGINT));
	printf("suspend %d %s\n", sigsuspend(&empty), strerror(errno));
	show("suspended");
	raise(SIGUSR1);
	printf("wait %d", sigtimedwait(&set, &got, &moment));
	printf(" %d\n", got.si_signo);
	printf("wait %d %s\n", sigtimedwait(&set, &got, &none), errno == EAGAIN ? "EAGAIN" : "other");
	sigprocmask(SIG_SETMASK, &empty, 0);
	printf("altstack %d %s\n", sigaltstack(&tiny, 0), strerror(errno));
	printf("altstack %d\n", sigaltstack(&stack, 0));
	sigaddset(&info.sa_mask, SIGUSR2);
	sigaction(SIGUSR1, &info, 0);
	sigaction(SIGRTMIN + 3, &info, 0);
	raise(SIGUSR1);
	kill(getpid(), SIGUSR1);
	printf("queue %d\n", sigqueue(getpid(), SIGRTMIN + 3, value));
	sigprocmask(SIG_BLOCK, 0, &pending);
	printf("mask is back %d\n", sigismember(&pending, SIGUSR2));
	on(SIGALRM, plain, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, 0); /* or the timer may come before the wait */
	setitimer(ITIMER_REAL, &timer, 0);
	sigsuspend(&empty);
	sigprocmask(SIG_SETMASK, &empty, 0);
	show("timer");
	printf("alarm %u %u\n", alarm(10), alarm(0));
	printf("ignored %d\n", signal(SIGTERM, SIG_IGN) == SIG_DFL && raise(SIGTERM) == 0);
	printf("refused %d %d\n", sigaction(SIGKILL, &info, 0), sigaction(99, &info, 0));
	printf("sleep %d\n", nanosleep(&moment, 0));
	fflush(stdout);
	abort();
}
