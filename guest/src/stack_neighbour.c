/* A mapping inside the stack's reserve: the stack grows down to it and never into it. */
#include "env.h"

int main(int argc, char **argv, char **envp)
{
	char *wall = (char *)usrstack() - 8 * SGROWSIZ, *above = wall + PAGE;
	char *got = sys_mmap(wall, PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE | MAP_FIXED, -1, 0);
	int guard = same(env(envp, "GUARD"), "1"); /* the release keeps a page free */

	(void)argc, (void)argv;
	catch_faults();
	check("a page maps in the reserve", got == wall);
	wall[PAGE - 1] = 42;
	check("the stack grows to one page above it", can_write(above + PAGE));
	check("the last page is the guard's, if there is one", can_write(above) == !guard);
	if (guard)
		check("which is ACCERR", was(SIGSEGV, SEGV_ACCERR, above));
	check("below the neighbour nothing grows", !can_write(wall - 1));
	check("with the right code and address", was(SIGSEGV, overflow_code(envp), wall - 1));
	check("the neighbour kept its byte", wall[PAGE - 1] == 42);
	return 0;
}
