/* A bad pointer in a system call is EFAULT for the call, never a signal. */
#include "fault.h"

int main(int argc, char **argv, char **envp)
{
	char *page = sys_mmap(0, 3 * PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE, -1, 0), *second = page + PAGE;
	int zero = sys_open("/dev/zero", 0), null = sys_open("/dev/null", 1);

	(void)argc, (void)argv, (void)envp;
	catch_faults();
	sys_munmap(second, PAGE);
	check("a null path", sys_open(0, 0) == -EFAULT);
	check("a path that runs into a hole", (second[-1] = '/', sys_open(second - 1, 0)) == -EFAULT);
	check("a record at address 8", sys_getrlimit(RLIMIT_STACK, (void *)8) == -EFAULT);
	check("a record across the edge", sys_getrlimit(RLIMIT_STACK, (void *)(second - 8)) == -EFAULT);
	check("reading into a hole", sys_read(zero, second, 10) == -EFAULT);
	check("reading into code", sys_read(zero, (void *)main, 10) == -EFAULT);
	check("reading into code changed nothing", *(unsigned char *)main != 0);
	check("writing from a hole", sys_write(1, second, 10) == -EFAULT);
	check("writing from kernel space", sys_write(1, (void *)0xffffffff80000000, 10) == -EFAULT);
	check("writing from PROT_NONE", (sys_mprotect(page + 2 * PAGE, PAGE, PROT_NONE),
		sys_write(1, page + 2 * PAGE, 10)) == -EFAULT);
	check("nothing to write needs no pointer", sys_write(null, 0, 0) == 0);
	check("no signal came", caught.count == 0);
	return 0;
}
