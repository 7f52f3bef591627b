/* A private mapping of a file is copied page by page when it is written, never the file. */
#include "guest.h"

static char from_file[PAGE];
static int changed = 1;

static int same_bytes(const char *a, const char *b, unsigned long n)
{
	while (n && a[n - 1] == b[n - 1])
		n--;
	return n == 0;
}

int main(int argc, char **argv, char **envp)
{
	int fd = sys_open(argv[0], 0);
	char *a = sys_mmap(0, 2 * PAGE, PROT_RW, MAP_PRIVATE, fd, 0);
	char *b = sys_mmap(0, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

	(void)argc, (void)envp;
	check("the program's own file opens", fd >= 0);
	check("it maps twice", !failed(a) && !failed(b) && a != b);
	check("both show an ELF header", same_bytes(a, "\177ELF", 4) && same_bytes(b, "\177ELF", 4));
	a[1] = 'e';
	check("the writer sees its byte", a[1] == 'e' && a[2] == 'L');
	check("the other mapping does not", b[1] == 'E');
	check("the file does not", sys_read(fd, from_file, PAGE) == PAGE && from_file[1] == 'E');
	check("the page kept its other bytes", same_bytes(a + 2, b + 2, PAGE - 2));
	check("the next page is still the file's", same_bytes(a + PAGE, b + PAGE, PAGE));
	changed = 2;
	check("a data segment is such a mapping", changed == 2);
	check("and can give its page up", sys_munmap(a, 2 * PAGE) == 0 && b[1] == 'E');
	return 0;
}
