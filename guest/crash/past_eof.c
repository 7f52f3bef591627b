/* Map a file longer than it is, and read behind its last page. */
#include "crash.h"

static NOINLINE unsigned long checksum(const volatile char *p, unsigned long n)
{
	unsigned long sum = 0;

	for (unsigned long i = 0; i < n; i++)
		sum = sum * 31 + (unsigned char)p[i];
	return sum;
}

int main(int argc, char **argv, char **envp)
{
	int fd = sys_open(argv[0], 0);
	unsigned long size = sys_lseek(fd, 0, 2), end = (size + PAGE - 1) & -PAGE;
	char *map = sys_mmap(0, end + PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

	(void)argc, (void)envp;
	show("the file", checksum(map, size));
	announce(map + end);
	show("one page more", checksum(map, end + PAGE));
	return 0;
}
