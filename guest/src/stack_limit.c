/* The stack grows to RLIMIT_STACK exactly; one byte further is a SIGSEGV. */
#include "env.h"

int main(int argc, char **argv, char **envp)
{
	char *low = (char *)(usrstack() - stack_limit());

	(void)argc, (void)argv;
	catch_faults();
	show("RLIMIT_STACK", stack_limit());
	show("lowest byte allowed", (unsigned long)low);
	check("one byte below it is refused", !can_write(low - 1));
	check("with the right code and address", was(SIGSEGV, overflow_code(envp), low - 1));
	check("the lowest byte is granted", can_write(low));
	check("one page below is still refused", !can_write(low - PAGE));
	check("the handler saw it each time", caught.count == 2);
	check("one byte below too", !can_read(low - 1) && was(SIGSEGV, overflow_code(envp), low - 1));
	check("the stack is whole", *low == 1 && low[SGROWSIZ] == 0);
	return 0;
}
