/* A SIGSEGV handler on the stack that has just overflowed: there is no room for its frame. */
#include "crash.h"

static void handler(int signo, struct siginfo *info, struct ucontext *uc)
{
	(void)signo, (void)info, (void)uc;
	put("the handler never runs\n");
	sys_exit(1);
}

static NOINLINE void descend(void *p)
{
	volatile char frame[100];

	KEEP(frame);
	descend(p);
	KEEP(frame);
}

int main(int argc, char **argv, char **envp)
{
	const struct sigaction action = SIGACTION(handler, SA_SIGINFO);

	(void)argc, (void)argv, (void)envp;
	sys_sigaction(SIGSEGV, &action);
	descend(0);
	return 0;
}
