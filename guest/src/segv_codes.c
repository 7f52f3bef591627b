/* SIGSEGV: MAPERR where nothing is mapped, ACCERR where the right is missing; si_addr exact. */
#include "fault.h"

static const char text[] = "read-only data";

int main(int argc, char **argv, char **envp)
{
	char *base = sys_mmap(0, 3 * PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE, -1, 0), *edge = base + PAGE;

	(void)argc, (void)argv, (void)envp;
	catch_faults();
	check("reading page zero", !can_read((void *)0x18) && was(SIGSEGV, SEGV_MAPERR, (void *)0x18));
	check("writing page zero", !can_write(0) && was(SIGSEGV, SEGV_MAPERR, 0));
	check("writing read-only data", !can_write((void *)&text[5]) && was(SIGSEGV, SEGV_ACCERR, &text[5]));
	check("writing code", !can_write((void *)main) && was(SIGSEGV, SEGV_ACCERR, (void *)main));
	sys_mprotect(edge, PAGE, PROT_NONE);
	check("reading PROT_NONE", !can_read(edge + 77) && was(SIGSEGV, SEGV_ACCERR, edge + 77));
	check("writing PROT_NONE", !can_write(edge + PAGE - 1) && was(SIGSEGV, SEGV_ACCERR, edge + PAGE - 1));
	sys_munmap(edge, PAGE);
	check("reading what was unmapped", !can_read(edge + 1) && was(SIGSEGV, SEGV_MAPERR, edge + 1));
	check("the neighbours are whole", can_write(edge - 1) && can_write(edge + PAGE));
	check("writing the page of the signal trampoline", !can_write((void *)0x7ffffffffff0)
		&& was(SIGSEGV, SEGV_ACCERR, (void *)0x7ffffffffff0));
	check("a fault is one signal", caught.count == 8);
	return 0;
}
