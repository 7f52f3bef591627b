/* A limit that is no multiple of the growth step cuts the last step short. */
#include "env.h"

int main(int argc, char **argv, char **envp)
{
	unsigned long limit = stack_limit(), top = usrstack();
	char *low = (char *)(top - (limit & -PAGE));

	(void)argc, (void)argv;
	catch_faults();
	show("RLIMIT_STACK", limit);
	check("the limit is no multiple of 128 KiB, nor of a page", limit % SGROWSIZ && limit % PAGE);
	check("a touch below the first step", can_write((char *)top - SGROWSIZ - PAGE));
	check("the step reaches down to the limit", can_write(low));
	check("the page that holds the limit is refused", !can_write(low - 1));
	check("with the right code and address", was(SIGSEGV, overflow_code(envp), low - 1));
	return 0;
}
