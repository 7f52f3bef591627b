/* mprotect over two entries, part of an entry, and a hole. */
#include "fault.h"

int main(int argc, char **argv, char **envp)
{
	char *base = sys_mmap(0, 6 * PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE, -1, 0), *two = base + 2 * PAGE;

	(void)argc, (void)argv, (void)envp;
	catch_faults();
	base[0] = 1;
	two[0] = 2;
	two[PAGE] = 3;
	check("the upper half becomes read-only", sys_mprotect(two, 4 * PAGE, PROT_READ) == 0);
	check("reading it is fine", can_read(two) && two[0] == 2);
	check("writing it is not", !can_write(two + 9) && was(SIGSEGV, SEGV_ACCERR, two + 9));
	check("the lower half does not care", can_write(base + PAGE));
	check("both entries lose all rights", sys_mprotect(base + PAGE, 2 * PAGE, PROT_NONE) == 0);
	check("the end of the first faults", !can_read(base + PAGE) && was(SIGSEGV, SEGV_ACCERR, base + PAGE));
	check("the start of the second too", !can_read(two) && was(SIGSEGV, SEGV_ACCERR, two));
	check("their neighbours stay", can_write(base) && can_read(two + PAGE) && !can_write(two + PAGE));
	check("rights come back", sys_mprotect(base, 6 * PAGE, PROT_RW) == 0);
	check("with the old bytes", base[0] == 1 && two[0] == 2 && two[PAGE] == 3 && can_write(two));
	check("a hole is made", sys_munmap(two, PAGE) == 0);
	check("mprotect steps over it", sys_mprotect(base, 6 * PAGE, PROT_READ) == 0);
	check("it worked on both sides", !can_write(base) && !can_write(two + PAGE));
	check("the hole is still one", !can_read(two) && was(SIGSEGV, SEGV_MAPERR, two));
	check("a wrapping range is refused", sys_mprotect(base, -PAGE, PROT_READ) == -EINVAL);
	return 0;
}
