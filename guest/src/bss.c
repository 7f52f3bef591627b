/* Uninitialised data is zero: the rest of the last file page, and the pages after it. */
#include "guest.h"

extern char edata[], end[];

static volatile char data[100] = { 1, 2, 3 };
static volatile char bss[3 * PAGE];

static int all_zero(const char *from, const char *to)
{
	while (from < to && !*from)
		from++;
	return from == to;
}

int main(int argc, char **argv, char **envp)
{
	/* The first line of output goes through a buffer that is itself bss: look before. */
	char *page_end = (char *)(((unsigned long)edata + PAGE - 1) & -PAGE);
	int tail = all_zero(edata, page_end), rest = all_zero(page_end, end);
	int last = all_zero(end, (char *)(((unsigned long)end + PAGE - 1) & -PAGE));

	(void)argc, (void)argv, (void)envp;
	show("end of file data", (unsigned long)edata);
	show("end of bss", (unsigned long)end);
	check("file data is there", data[0] == 1 && data[2] == 3 && data[99] == 0);
	check("file data ends inside a page", edata < page_end && end > page_end);
	check("the tail of that page is zero", tail);
	check("the pages after it are zero", rest);
	check("so is what follows bss in its last page", last);
	bss[0] = bss[sizeof bss - 1] = 7;
	check("bss can be written", bss[0] == 7 && bss[1] == 0 && bss[sizeof bss - 1] == 7);
	return 0;
}
