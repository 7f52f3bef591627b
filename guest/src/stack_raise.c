/* Raise RLIMIT_STACK while running; on the modern releases the gap stays cut where it was. */
#include "env.h"

int main(int argc, char **argv, char **envp)
{
	struct rlimit limit;
	unsigned long old = stack_limit(), top = usrstack();
	char *deep = (char *)(top - 4 * old + PAGE);
	int capped = same(env(envp, "CAPPED"), "1");

	(void)argc, (void)argv;
	catch_faults();
	check("beyond the old limit nothing grows", !can_write(deep));
	sys_getrlimit(RLIMIT_STACK, &limit);
	limit.cur = 4 * old;
	check("the limit is raised fourfold", sys_setrlimit(RLIMIT_STACK, &limit) == 0);
	check("getrlimit says so", stack_limit() == 4 * old);
	check("inside the old limit it grows", can_write((char *)(top - old + PAGE)));
	check("beyond it where setrlimit did not cut the gap", can_write(deep) == !capped);
	if (capped)
		check("the refusal is ACCERR", was(SIGSEGV, SEGV_ACCERR, deep));
	else
		check("the new bottom is the limit", !can_write(deep - PAGE - 1) && can_write(deep - PAGE));
	limit.cur = limit.max + 1;
	check("above the hard limit it is refused or clamped", sys_setrlimit(RLIMIT_STACK, &limit) != 0
		|| stack_limit() <= limit.max);
	return 0;
}
