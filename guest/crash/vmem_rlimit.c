/* The stack could grow, but RLIMIT_VMEM has no room left for it. */
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
	sys_getrlimit(RLIMIT_VMEM, &limit);
	show("RLIMIT_VMEM", limit.cur);
	show("walked", walk(2000));
	return 0;
}
