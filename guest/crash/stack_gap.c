/* A thread's stack from MAP_STACK, written down to the page the kernel keeps free. */
#include "crash.h"

int main(int argc, char **argv, char **envp)
{
	char *base = (char *)0x10000000, *top = base + 2 * SGROWSIZ;
	int flags = MAP_STACK | MAP_PRIVATE | MAP_ANON | MAP_FIXED;

	(void)argc, (void)argv, (void)envp;
	base = sys_mmap(base, 2 * SGROWSIZ, PROT_RW, flags, -1, 0);
	show("stack", (unsigned long)base);
	for (volatile char *p = top - 1; p > base - PAGE; p -= PAGE)
		*p = 1;
	return 0;
}
