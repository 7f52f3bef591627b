/* Pass a system call a buffer that is too short: EFAULT, and the program gives up. */
#include "crash.h"

static NOINLINE long save(const char *buffer, unsigned long n) { return sys_write(1, buffer, n); }

int main(int argc, char **argv, char **envp)
{
	char *page = sys_mmap(0, 2 * PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE, -1, 0);
	long n;

	(void)argc, (void)argv, (void)envp;
	sys_munmap(page + PAGE, PAGE);
	announce(page + PAGE);
	n = save(OPAQUE(page + PAGE), 5);
	if (n == -EFAULT)
		put("write: bad address\n");
	return n < 0 ? (int)-n : 0;
}
