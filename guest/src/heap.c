/* The heap: break moves the end of the data segment, in pages, up and down. */
#include "fault.h"

extern char end[];

static long set_break(void *to) { return CALL(SYS_break, to, 0, 0, 0, 0, 0); }

int main(int argc, char **argv, char **envp)
{
	char *base = (char *)(((unsigned long)end + PAGE - 1) & -PAGE);
	struct rlimit limit;

	(void)argc, (void)argv, (void)envp;
	catch_faults();
	show("first break", (unsigned long)base);
	check("nothing lies behind bss", !can_read(base) && was(SIGSEGV, SEGV_MAPERR, base));
	check("break goes up three pages", set_break(base + 3 * PAGE) >= 0);
	check("they are zero", base[0] == 0 && base[3 * PAGE - 1] == 0);
	base[0] = base[PAGE] = base[3 * PAGE - 1] = 5;
	check("the page behind them is not there", !can_write(base + 3 * PAGE));
	check("a break inside a page is rounded up", set_break(base + PAGE + 1) >= 0);
	check("two pages are left", base[0] == 5 && can_read(base + 2 * PAGE - 1));
	check("the third is gone", !can_read(base + 2 * PAGE) && was(SIGSEGV, SEGV_MAPERR, base + 2 * PAGE));
	check("break goes up again", set_break(base + 3 * PAGE) >= 0);
	check("the new page is zero again", base[3 * PAGE - 1] == 0 && base[PAGE] == 5);
	sys_getrlimit(RLIMIT_DATA, &limit);
	limit.cur = 64 * PAGE;
	sys_setrlimit(RLIMIT_DATA, &limit);
	check("RLIMIT_DATA stops it", set_break(base + 64 * PAGE) == -ENOMEM);
	check("the old heap is untouched", base[0] == 5 && !can_read(base + 3 * PAGE));
	return 0;
}
