/* A thread's stack: MAP_STACK reserves 256 KiB, shows 128, and grows on demand. */
#include "env.h"

enum { SIZE = 256 * 1024 };

int main(int argc, char **argv, char **envp)
{
	char *base = (char *)0x10000000, *top = base + SIZE;
	int guard = same(env(envp, "GUARD"), "1");
	char *got = sys_mmap(base, SIZE, PROT_RW, MAP_STACK | MAP_PRIVATE | MAP_FIXED | MAP_ANON, -1, 0);

	(void)argc, (void)argv;
	catch_faults();
	check("the stack is placed", got == base);
	check("its top half is there", can_write(top - 1) && can_write(top - SGROWSIZ));
	check("it grows", can_write(base + SGROWSIZ - 1));
	check("down to the page above the last", can_write(base + PAGE));
	check("the last page is the guard's, if there is one", can_write(base) == !guard);
	if (guard)
		check("which is ACCERR", was(SIGSEGV, SEGV_ACCERR, base));
	check("below it nothing grows", !can_write(base - 1) && was(SIGSEGV, SEGV_MAPERR, base - 1));
	check("the marks are there", top[-1] == 1 && base[PAGE] == 1 && base[SGROWSIZ + 1] == 0);
	check("it unmaps as a whole", sys_munmap(base, SIZE) == 0);
	check("and is gone", !can_read(top - 1) && !can_read(base + PAGE));
	return 0;
}
