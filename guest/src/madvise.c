/* madvise and mincore: advice never loses data that msync or swap could not bring back. */
#include "fault.h"

enum { SYS_madvise = 75, SYS_mincore = 78, MADV_NORMAL = 0, MADV_RANDOM = 1, MADV_WILLNEED = 3 };
enum { MADV_DONTNEED = 4, MADV_FREE = 5, MINCORE_INCORE = 1, PAGES = 8 };

static long advise(void *p, unsigned long n, int what) { return CALL(SYS_madvise, p, n, what, 0, 0, 0); }

int main(int argc, char **argv, char **envp)
{
	char *p = sys_mmap(0, PAGES * PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE, -1, 0), core[PAGES];
	int kept = 1, freed = 1;

	(void)argc, (void)argv, (void)envp;
	catch_faults();
	check("nothing is resident yet", CALL(SYS_mincore, p, PAGES * PAGE, core, 0, 0, 0) == 0
		&& !(core[0] & MINCORE_INCORE) && !(core[7] & MINCORE_INCORE));
	p[0] = 1;
	p[3 * PAGE] = 4;
	check("two pages are, once touched", CALL(SYS_mincore, p, PAGES * PAGE, core, 0, 0, 0) == 0
		&& core[0] & MINCORE_INCORE && !(core[1] & MINCORE_INCORE) && core[3] & MINCORE_INCORE);
	for (int i = 0; i < PAGES; i++)
		p[i * PAGE] = (char)(i + 1);
	check("DONTNEED", advise(p, PAGES * PAGE, MADV_DONTNEED) == 0);
	for (int i = 0; i < PAGES; i++)
		kept &= p[i * PAGE] == i + 1;
	check("keeps every byte: this is not Linux", kept);
	check("WILLNEED, RANDOM and NORMAL", !advise(p, PAGE, MADV_WILLNEED) && !advise(p, PAGE, MADV_RANDOM)
		&& !advise(p, PAGES * PAGE, MADV_NORMAL));
	check("FREE", advise(p, PAGES * PAGE, MADV_FREE) == 0);
	for (int i = 0; i < PAGES; i++)
		freed &= p[i * PAGE] == i + 1 || p[i * PAGE] == 0;
	check("leaves old bytes or zeros", freed);
	check("a page written after it stays", (p[0] = 9, p[0]) == 9);
	check("unknown advice is refused", advise(p, PAGE, 99) == -EINVAL);
	check("holes are fine", !sys_munmap(p + PAGE, PAGE) && advise(p, 4 * PAGE, MADV_DONTNEED) == 0);
	check("mincore says ENOMEM beyond user space", CALL(SYS_mincore, 1UL << 62, PAGE, core, 0, 0, 0) == -ENOMEM);
	return 0;
}
