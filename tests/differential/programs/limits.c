/* Resource limits of a single process: what each stops, and with which error. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static void limit(int which, rlim_t cur)
{
	struct rlimit r;

	getrlimit(which, &r);
	r.rlim_cur = cur;
	printf("set %d: %d\n", which, setrlimit(which, &r));
	getrlimit(which, &r);
	printf("now %d\n", r.rlim_cur == cur);
}

static void say(const char *what, long result) { printf("%s: %ld %s\n", what, result, result < 0 ? strerror(errno) : ""); }

int main(void)
{
	char buffer[2000] = "", *p;
	int fd = open("limits.data", O_RDWR | O_CREAT | O_TRUNC, 0600), last = -1, next;

	signal(SIGXFSZ, SIG_IGN);
	limit(RLIMIT_FSIZE, 3000);
	say("write", write(fd, buffer, 2000));
	say("write across", write(fd, buffer, 2000));
	say("write beyond", write(fd, buffer, 2000));
	say("ftruncate beyond", ftruncate(fd, 5000));
	say("pwrite beyond", pwrite(fd, buffer, 1, 4000));
	limit(RLIMIT_FSIZE, RLIM_INFINITY);
	limit(RLIMIT_NOFILE, 10);
	while ((next = dup(fd)) >= 0)
		last = next;
	say("dup at last", last);
	say("open", open("limits.data", O_RDONLY));
	say("dup2 beyond", dup2(fd, 10));
	limit(RLIMIT_NOFILE, 64);
	say("dup2 again", dup2(fd, 10));
	limit(RLIMIT_DATA, 8 << 20);
	say("sbrk over RLIMIT_DATA", sbrk(64 << 20) == (void *)-1 ? -1 : 0);
	say("sbrk below it", sbrk(1 << 20) == (void *)-1 ? -1 : 0);
	limit(RLIMIT_DATA, 1 << 30);
	limit(RLIMIT_AS, 256 << 20);
	p = mmap(0, 512 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	say("mmap over RLIMIT_AS", p == MAP_FAILED ? -1 : 0);
	p = mmap(0, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	say("mmap below it", p == MAP_FAILED ? -1 : 0);
	p = mremap(p, 8 << 20, 600 << 20, MREMAP_MAYMOVE);
	say("mremap over it", p == MAP_FAILED ? -1 : 0);
	limit(RLIMIT_AS, RLIM_INFINITY);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_STACK, 16 << 20);
	return unlink("limits.data");
}
