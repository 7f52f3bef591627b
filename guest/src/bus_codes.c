/* Beyond the end of a mapped file, and addresses no page table can hold. */
#include "env.h"

static void pop_from(void *to)
{
	/* The same address in rsp is a stack fault, #SS, not a general protection fault. */
	__asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp; pop %%rax; mov %%rbx, %%rsp" :: "r"(to) : "rax", "rbx");
}

int main(int argc, char **argv, char **envp)
{
	int fd = sys_open(argv[0], 0), bus = same(env(envp, "PAST_EOF"), "OBJERR");
	unsigned long size = sys_lseek(fd, 0, 2), end = (size + PAGE - 1) & -PAGE;
	char *map = sys_mmap(0, end + PAGE, PROT_READ, MAP_SHARED, fd, 0);
	void *nowhere = (void *)0x800000000000;

	(void)argc;
	catch_faults();
	check("the file maps one page too long", !failed(map));
	check("its last byte is there", can_read(map + size - 1));
	check("the rest of its last page is zero", size == end || map[end - 1] == 0);
	check("the page behind it is not", !can_read(map + end + 3));
	check("with the release's signal and code", was(bus ? SIGBUS : SIGSEGV,
		bus ? BUS_OBJERR : SEGV_ACCERR, map + end + 3));
	check("a non-canonical address", !can_read(nowhere));
	check("is SIGBUS, BUS_OBJERR", caught.signo == SIGBUS && caught.code == BUS_OBJERR);
	check("the same as a stack", !attempt(pop_from, nowhere));
	check("is SIGBUS, BUS_ADRERR", caught.signo == SIGBUS && caught.code == BUS_ADRERR);
	return 0;
}
