/* mmap, mprotect, mremap, madvise, msync, mincore: results and contents, never addresses. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

static void say(const char *what, long result) { printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : ""); }
static char *anon(size_t pages) { return mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

int main(void)
{
	char *p = anon(8), *q, *r, name[] = "maps.data";
	unsigned char in_core[8];
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);

	for (int i = 0; i < 8; i++)
		memset(p + i * PAGE, 'a' + i, PAGE);
	say("munmap the middle", munmap(p + 3 * PAGE, 2 * PAGE));
	say("mprotect over the hole", mprotect(p, 8 * PAGE, PROT_READ));
	say("mprotect below it", mprotect(p, 3 * PAGE, PROT_READ | PROT_WRITE));
	q = mmap(p + 3 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	printf("fixed %d zero %d\n", q == p + 3 * PAGE, q[0]);
	q = mremap(p, 3 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
	printf("mremap moved %d %c%c%c%d\n", q != p, q[0], q[PAGE], q[2 * PAGE], q[3 * PAGE]);
	r = mremap(q, 64 * PAGE, 2 * PAGE, 0);
	printf("shrunk in place %d %c\n", r == q, r[PAGE]);
	say("grow where it is", mremap(r, 2 * PAGE, 3 * PAGE, 0) == r ? 0 : -1);
	say("msync of a hole", msync(p + 4 * PAGE, PAGE, MS_SYNC));
	say("munmap of nothing", munmap(p + 4 * PAGE, PAGE));
	say("unaligned munmap", munmap(r + 1, PAGE));
	say("empty mmap", (long)mmap(0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	say("no sharing flag", (long)mmap(0, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
	say("mmap of a closed file", (long)mmap(0, PAGE, PROT_READ, MAP_PRIVATE, 77, 0));
	say("madvise DONTNEED", madvise(r, PAGE, MADV_DONTNEED));
	printf("after it %d %c\n", r[0], r[PAGE]);
	say("mincore", mincore(r, 2 * PAGE, in_core));
	printf("resident %d %d\n", in_core[0] & 1, in_core[1] & 1);
	say("ftruncate", ftruncate(fd, 3 * PAGE + 10));
	q = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	r = mmap(0, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	say("pwrite", pwrite(fd, "written", 7, PAGE));
	printf("seen by both: %.7s %.7s\n", q + PAGE, r + PAGE);
	strcpy(q + 2 * PAGE, "shared store");
	strcpy(r, "private store");
	say("msync", msync(q, 4 * PAGE, MS_SYNC));
	char line[32] = "";
	say("pread", pread(fd, line, 12, 2 * PAGE));
	printf("file: %s; private to shared: %d\n", line, q[0]);
	say("close", close(fd));
	printf("still mapped: %.7s\n", q + PAGE);
	say("brk", sbrk(3 * PAGE) == (void *)-1);
	say("back", brk(sbrk(0)));
	return unlink(name);
}
