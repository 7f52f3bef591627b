/* Skip pages: a touch below the stack brings everything above it, and nothing is lost. */
#include "env.h"

static volatile char *at(unsigned long here, unsigned long kilobytes)
{
	return (volatile char *)(here - kilobytes * 1024);
}

int main(int argc, char **argv, char **envp)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0) & -PAGE;

	(void)argc, (void)argv, (void)envp;
	catch_faults();
	check("300 KiB down", can_write((void *)at(here, 300)));
	check("200 KiB down was brought along, zero", *at(here, 200) == 0);
	check("one page above the touch", *at(here, 296) == 0);
	check("2 MiB down", can_write((void *)at(here, 2048)));
	check("what lies between is zero", *at(here, 1000) == 0 && *at(here, 304) == 0);
	check("the first mark is still there", *at(here, 300) == 1);
	check("and the second", *at(here, 2048) == 1);
	return 0;
}
