/* An honest recursion of 2 MiB under a limit of 512 KiB. */
#include "crash.h"

static NOINLINE unsigned long walk(unsigned long n)
{
	volatile char frame[1000];

	KEEP(frame);
	frame[0] = (char)n;
	return (n ? walk(n - 1) : 0) + (frame[0] == (char)n);
}

int main(int argc, char **argv, char **envp)
{
	struct rlimit limit;

	(void)argc, (void)argv, (void)envp;
	sys_getrlimit(RLIMIT_STACK, &limit);
	show("RLIMIT_STACK", limit.cur);
	show("walked", walk(2000));
	return 0;
}
