/* A shared mapping is the file: stores reach read, writes reach the mapping, a private copy stays out. */
#include "fault.h"

enum { O_RDWR = 2, O_CREAT = 0x200, O_TRUNC = 0x400, SYS_unlink = 10, SYS_pread = 475, SYS_pwrite = 476, SYS_msync = 65 };

static const char name[] = "shared_file.data";
static char buffer[16];

static long pwrite(int fd, const void *p, unsigned long n, long at) { return CALL(SYS_pwrite, fd, p, n, at, 0, 0); }
static long pread(int fd, void *p, unsigned long n, long at) { return CALL(SYS_pread, fd, p, n, at, 0, 0); }

int main(int argc, char **argv, char **envp)
{
	int fd = (int)CALL(SYS_open, name, O_RDWR | O_CREAT | O_TRUNC, 0600, 0, 0, 0);
	char *a, *b, *copy, *read_only;

	(void)argc, (void)argv, (void)envp;
	catch_faults();
	check("a file is made in the working directory", fd >= 0);
	check("it gets two pages less ten bytes", pwrite(fd, "end", 3, 2 * PAGE - 13) == 3);
	a = sys_mmap(0, 2 * PAGE, PROT_RW, MAP_SHARED, fd, 0);
	b = sys_mmap(0, PAGE, PROT_RW, MAP_SHARED, fd, PAGE);
	copy = sys_mmap(0, 2 * PAGE, PROT_RW, MAP_PRIVATE, fd, 0);
	check("it maps three times", !failed(a) && !failed(b) && !failed(copy));
	check("the hole in the file is zero", a[0] == 0 && b[0] == 0 && copy[PAGE] == 0);
	a[PAGE + 1] = 'A';
	check("a store shows in the other mapping", b[1] == 'A');
	check("and in the private one, which has no copy yet", copy[PAGE + 1] == 'A');
	check("and in the file", pread(fd, buffer, 1, PAGE + 1) == 1 && buffer[0] == 'A');
	copy[PAGE + 1] = 'C';
	a[PAGE + 2] = 'B';
	check("a private store stays private", b[1] == 'A' && copy[PAGE + 1] == 'C');
	check("and its page no longer follows the file", copy[PAGE + 2] == 0);
	check("write shows in the shared mappings", pwrite(fd, "W", 1, 5) == 1 && a[5] == 'W' && copy[5] == 'W');
	check("behind the end of the file a page is zero", a[2 * PAGE - 1] == 0);
	check("msync", CALL(SYS_msync, a, 2 * PAGE, 0, 0, 0, 0) == 0);
	check("the mapping outlives the descriptor", (CALL(SYS_close, fd, 0, 0, 0, 0, 0), a[5]) == 'W');
	fd = sys_open(name, 0);
	read_only = sys_mmap(0, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	check("a read-only descriptor may not be mapped for writing",
		sys_mmap(0, PAGE, PROT_RW, MAP_SHARED, fd, 0) == (void *)-EACCES);
	check("nor made writable later", sys_mprotect(read_only, PAGE, PROT_RW) == -EACCES);
	check("unlink", CALL(SYS_unlink, name, 0, 0, 0, 0, 0) == 0 && read_only[5] == 'W');
	return 0;
}
