/* The memory system calls with good and bad arguments in every combination: which errno, which content. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096UL
#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

static char *base; /* eight pages: 0-1 rw, 2 hole, 3 read-only, 4 none, 5-7 rw */
static int rw, ro, wo, closed = 77, zero;

static void layout(void)
{
	base = mmap(base, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (base ? MAP_FIXED : 0), -1, 0);
	munmap(base + 2 * PAGE, PAGE);
	mprotect(base + 3 * PAGE, PAGE, PROT_READ);
	mprotect(base + 4 * PAGE, PAGE, PROT_NONE);
	base[0] = base[5 * PAGE] = 1;
}

static void say(const char *what, int a, int b, int c, int d, long result)
{
	const char *kind = "ok";
	char text[40];

	if (result == -1)
		kind = strerror(errno);
	else if (result != 0)
		snprintf(text, sizeof text, "%ld", result), kind = text;
	printf("%s %d %d %d %d: %s\n", what, a, b, c, d, kind);
}

static void try_mmap(void)
{
	static const unsigned long lengths[] = { 0, 1, PAGE, 3 * PAGE, -PAGE, 1UL << 47, -1UL };
	static const int flags[] = { 0, MAP_PRIVATE, MAP_SHARED, MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED | MAP_ANONYMOUS,
		MAP_PRIVATE | MAP_SHARED, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_POPULATE, MAP_ANONYMOUS };
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC };
	const int fds[] = { -1, rw, ro, wo, closed, zero };
	static const long offsets[] = { 0, 4096, 1, -4096 };

	for (int l = 0; l < COUNT(lengths); l++)
		for (int f = 0; f < COUNT(flags); f++)
			for (int p = 0; p < COUNT(prots); p += l ? COUNT(prots) - 2 : 1)
				for (int d = 0; d < COUNT(fds); d++)
					for (int o = 0; o < (l == 2 ? COUNT(offsets) : 1); o++) {
						void *m = mmap(0, lengths[l], prots[p], flags[f], fds[d], offsets[o]);
						char what[40];

						snprintf(what, sizeof what, "mmap[%lu]", (unsigned long)l);
						say(what, f, p, d, o, m == MAP_FAILED ? -1 : 0);
						if (m != MAP_FAILED)
							munmap(m, lengths[l]);
					}
}

static void try_fixed(void)
{
	static const long at[] = { 0, 1, 2, 3, 5, 7 };

	for (int i = 0; i < COUNT(at); i++)
		for (int mode = 0; mode < 4; mode++) {
			int extra = mode == 0 ? 0 : mode == 1 ? MAP_FIXED : mode == 2 ? MAP_FIXED_NOREPLACE : MAP_FIXED;
			char *want = base + at[i] * PAGE + (mode == 3 ? 8 : 0), *got;

			layout();
			got = mmap(want, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | extra, -1, 0);
			say("fixed", i, mode, got == want, 0, got == MAP_FAILED ? -1 : 0);
			if (got != MAP_FAILED && got != want)
				munmap(got, PAGE);
		}
}

static void try_ranges(void)
{
	static const long from[] = { 0, 8, 1 * 4096, 2 * 4096, 3 * 4096, 4 * 4096, 5 * 4096 };
	static const unsigned long size[] = { 0, 1, PAGE, 2 * PAGE, 3 * PAGE, -PAGE, -1UL };
	unsigned char vec[64];

	for (int i = 0; i < COUNT(from); i++)
		for (int k = 0; k < COUNT(size); k++) {
			char *p = base + from[i];

			layout();
			say("mprotect", i, k, 0, 0, mprotect(p, size[k], PROT_READ | PROT_WRITE));
			layout();
			say("munmap", i, k, 0, 0, k >= 5 ? 0 : munmap(p, size[k]));
			for (int how = 0; how < 8; how++) {
				layout();
				say("msync", i, k, how, 0, msync(p, size[k], how));
			}
			layout();
			memset(vec, 9, sizeof vec);
			say("mincore", i, k, 0, 0, k >= 5 ? 0 : mincore(p, size[k], vec));
			for (int advice = 0; advice < 5; advice++) {
				layout();
				say("madvise", i, k, advice, 0, madvise(p, size[k], advice));
			}
			layout();
			say("mlock", i, k, 0, 0, k >= 5 ? 0 : mlock(p, size[k]));
			say("munlock", i, k, 0, 0, k >= 5 ? 0 : munlock(p, size[k]));
		}
	layout();
	say("madvise", -1, 0, 0, 0, madvise(base, PAGE, 999));
	say("mprotect", -1, 0, 0, 0, mprotect(base, PAGE, 0x40));
	say("mprotect growsdown", -1, 0, 0, 0, mprotect(base, PAGE, PROT_READ | PROT_GROWSDOWN));
}

static void try_mremap(void)
{
	static const int flags[] = { 0, MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_MAYMOVE | MREMAP_FIXED, 8 };
	static const long from[] = { 0, 8, 2 * 4096, 3 * 4096, 5 * 4096 };
	static const unsigned long olds[] = { 0, PAGE, 2 * PAGE, 3 * PAGE }, news[] = { 0, PAGE, 6 * PAGE };
	char *room = mmap(0, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int f = 0; f < COUNT(flags); f++)
		for (int i = 0; i < COUNT(from); i++)
			for (int o = 0; o < COUNT(olds); o++)
				for (int n = 0; n < COUNT(news); n++) {
					char *p;

					layout();
					p = (char *)syscall(SYS_mremap, base + from[i], olds[o], news[n], flags[f], room);
					say("mremap", f, i, o, n, p == MAP_FAILED ? -1 : (p == base + from[i]) + 2 * (p == room));
					if (p != MAP_FAILED && p != base + from[i] && p != room && news[n] < 1 << 20)
						munmap(p, news[n]);
				}
}

static void try_limits(void)
{
	struct rlimit old, limit;

	for (int which = -1; which < 18; which++)
		say("getrlimit", which, 0, 0, 0, getrlimit(which, &old));
	getrlimit(RLIMIT_AS, &old);
	limit = old;
	limit.rlim_cur = 1UL << 30;
	say("setrlimit AS", 0, 0, 0, 0, setrlimit(RLIMIT_AS, &limit));
	say("too much", 0, 0, 0, 0, mmap(0, 1UL << 31, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
	say("enough", 0, 0, 0, 0, mmap(0, 1UL << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
	limit.rlim_cur = limit.rlim_max = 1UL << 29;
	limit.rlim_cur++;
	say("soft above hard", 0, 0, 0, 0, setrlimit(RLIMIT_AS, &limit));
	setrlimit(RLIMIT_AS, &old);
	limit.rlim_cur = limit.rlim_max = 0;
	say("bad which", 0, 0, 0, 0, setrlimit(99, &limit));
}

int main(void)
{
	rw = open("calls.data", O_RDWR | O_CREAT, 0600);
	ro = open("calls.data", O_RDONLY);
	wo = open("calls.data", O_WRONLY);
	zero = open("/dev/zero", O_RDWR);
	ftruncate(rw, 6000);
	try_mmap();
	layout();
	try_fixed();
	try_ranges();
	try_mremap();
	try_limits();
	return unlink("calls.data");
}
