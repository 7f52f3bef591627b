/* munmap makes holes; a hole faults, can be mapped again, and is no error to munmap. */
#include "fault.h"

static char *page[5];

static char *anon(void *hint, unsigned long pages, int flags)
{
	return sys_mmap(hint, pages * PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE | flags, -1, 0);
}

int main(int argc, char **argv, char **envp)
{
	char *base = anon(0, 5, 0);

	(void)argc, (void)argv, (void)envp;
	catch_faults();
	check("five pages map", !failed(base));
	for (int i = 0; i < 5; i++)
		page[i] = base + i * PAGE, page[i][0] = (char)(i + 1);
	check("the second goes", sys_munmap(page[1], PAGE) == 0);
	check("the fourth goes", sys_munmap(page[3], PAGE) == 0);
	check("the others keep their bytes", page[0][0] == 1 && page[2][0] == 3 && page[4][0] == 5);
	check("the first hole faults", !can_read(page[1] + 8) && was(SIGSEGV, SEGV_MAPERR, page[1] + 8));
	check("the second too", !can_write(page[3]) && was(SIGSEGV, SEGV_MAPERR, page[3]));
	check("a fixed mapping fills a hole", anon(page[1], 1, MAP_FIXED) == page[1]);
	check("with zeros", page[1][0] == 0);
	check("a fixed mapping replaces a page", anon(page[2], 1, MAP_FIXED) == page[2] && page[2][0] == 0);
	check("munmap does not mind holes", sys_munmap(base, 5 * PAGE) == 0);
	check("nor nothing at all", sys_munmap(base, 5 * PAGE) == 0);
	check("but it wants a length", sys_munmap(base, 0) == -EINVAL);
	check("now all is gone", !can_read(page[0]) && !can_read(page[4]));
	check("a fitting hint is taken", anon(base + PAGE, 2, 0) == base + PAGE);
	check("an occupied one is not", anon(base + PAGE, 1, 0) != base + PAGE);
	return 0;
}
