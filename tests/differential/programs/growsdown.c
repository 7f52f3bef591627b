/* MAP_GROWSDOWN: what grows, what stops it, what a neighbour does; each try ends in a value or a signal. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define PAGE 4096L

static sigjmp_buf out;
static char altstack[32768];
static volatile int code;

static void fault(int signo, siginfo_t *info, void *context)
{
	(void)context;
	code = info->si_code;
	siglongjmp(out, signo);
}

static int touch(volatile char *p)
{
	int signo = sigsetjmp(out, 1);

	if (signo)
		return -signo * 10 - code;
	*p = 7;
	return *p;
}

/* A stack of *pages* at *room* + *at* pages, in an area of 1024 pages that is otherwise empty. */
static char *place(char *room, long at, long pages)
{
	munmap(room, 1024 * PAGE);
	return mmap(room + at * PAGE, pages * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
}

int main(void)
{
	stack_t stack = { .ss_sp = altstack, .ss_size = sizeof altstack };
	struct sigaction action = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	char *room = mmap(0, 1024 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p;

	sigaltstack(&stack, 0);
	sigaction(SIGSEGV, &action, 0);
	sigaction(SIGBUS, &action, 0);
	p = place(room, 900, 4);
	printf("placed %d\n", p == room + 900 * PAGE);
	printf("inside %d %d\n", touch(p), touch(p + 4 * PAGE - 1));
	printf("the page below %d\n", touch(p - 1));
	printf("ten pages below %d\n", touch(p - 10 * PAGE));
	printf("between %d\n", touch(p - 5 * PAGE));
	printf("hundred pages below %d\n", touch(p - 100 * PAGE));
	printf("above %d\n", touch(p + 4 * PAGE));
	p = place(room, 900, 4);
	mmap(room + 600 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	printf("with a neighbour 300 pages below: 10 %d\n", touch(p - 10 * PAGE));
	printf("the neighbour itself %d\n", touch(room + 600 * PAGE));
	p = place(room, 900, 4);
	mmap(p - PAGE, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	printf("a PROT_NONE page just below %d\n", touch(p - PAGE));
	p = place(room, 900, 4);
	mprotect(p, PAGE, PROT_READ);
	printf("lowest page read-only %d\n", touch(p));
	return 0;
}
