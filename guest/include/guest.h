/* What every guest stands on: entry, exit, printing, checks.  No libc.
 *
 * A guest defines main().  It prints one line per check and stops at the first
 * that does not hold, with the number of that check as its exit status.
 */
#pragma once
#if defined(__FreeBSD__)
#include "freebsd.h"
#else
#include "linux.h"
#endif

#include "calls.h"

#define NOINLINE __attribute__((noinline))
#define PAGE 4096UL
#define SGROWSIZ 0x20000UL /* kern.sgrowsiz: the step in which a stack grows */

int main(int argc, char **argv, char **envp);

static char line[256];
static unsigned long line_used;
static int checks;

static inline void flush(void)
{
	sys_write(1, line, line_used);
	line_used = 0;
}

static inline void put(const char *s)
{
	while (*s) {
		line[line_used++] = *s;
		if (*s++ == '\n' || line_used == sizeof line)
			flush();
	}
}

static NOINLINE void put_number(unsigned long n, unsigned long base)
{
	char digits[24], *p = digits + sizeof digits;

	for (*--p = 0; p > digits; n /= base) {
		*--p = "0123456789abcdef"[n % base];
		if (n < base)
			break;
	}
	put(p);
}

static inline void put_dec(unsigned long n) { put_number(n, 10); }
static inline void put_hex(unsigned long n) { put("0x"); put_number(n, 16); }

/* "label: 0x..." and a new line. */
static inline void show(const char *label, unsigned long n)
{
	put(label);
	put(": ");
	put_hex(n);
	put("\n");
}

static inline void check(const char *what, int holds)
{
	put(holds ? "ok " : "not ok ");
	put_dec(++checks);
	put(" ");
	put(what);
	put("\n");
	if (!holds)
		sys_exit(checks);
}

static inline int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* The compiler may ask for these by name. */
__attribute__((weak)) void *memset(void *to, int c, unsigned long n)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
	return (char *)to - n;
}

__attribute__((used)) static void guest_start(unsigned long *argc)
{
	char **argv = (char **)(argc + 1);

	sys_exit(main((int)*argc, argv, argv + *argc + 1));
}

__attribute__((naked, used, visibility("default"))) void _start(void)
{
	__asm__(ARGC_TO_RDI "xor %ebp, %ebp; and $-16, %rsp; call guest_start");
}
