/* The smallest guest: two system calls, write and exit. */
#include "guest.h"

int main(int argc, char **argv, char **envp)
{
	static const char greeting[] = "hello from a FreeBSD program\n";
	long n = sys_write(1, greeting, sizeof greeting - 1);

	(void)argc, (void)argv, (void)envp;
	check("write took every byte", n == sizeof greeting - 1);
	check("a closed descriptor is refused", sys_write(99, greeting, 1) == -EBADF);
	return 0;
}
