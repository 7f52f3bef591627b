/* A handler that uses more than its alternate stack has. */
#include "crash.h"

static NOINLINE void descend(void *p)
{
	volatile char frame[100];

	KEEP(frame);
	descend(p);
	KEEP(frame);
}

static void handler(int signo, struct siginfo *info, struct ucontext *uc)
{
	(void)signo, (void)info, (void)uc;
	put("in the handler\n");
	descend(0);
}

int main(int argc, char **argv, char **envp)
{
	char *room = sys_mmap(0, 5 * PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE, -1, 0);
	const struct stack stack = { .sp = room + PAGE, .size = 4 * PAGE };
	const struct sigaction action = SIGACTION(handler, SA_SIGINFO | SA_ONSTACK);

	(void)argc, (void)argv, (void)envp;
	sys_mprotect(room, PAGE, PROT_NONE);
	show("alternate stack", (unsigned long)stack.sp);
	sys_sigaltstack(&stack, 0);
	sys_sigaction(SIGSEGV, &action);
	*(volatile int *)OPAQUE((int *)64) = 1;
	return 0;
}
