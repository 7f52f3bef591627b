/* FreeBSD amd64 as a program sees it: numbers, records, the carry-flag convention. */
#pragma once

/* The kernel passes the address of argc in rdi. */
#define ARGC_TO_RDI ""

/* NT_FREEBSD_ABI_TAG: without it a protection fault is SIGBUS, not SIGSEGV. */
__asm__(".pushsection .note.tag, \"a\", @note; .p2align 2\n"
	".long 8, 4, 1; .asciz \"FreeBSD\"; .long 1001000; .popsection");

enum {
	SYS_exit = 1, SYS_read = 3, SYS_write = 4, SYS_open = 5, SYS_close = 6, SYS_break = 17,
	SYS_getpid = 20, SYS_sigaltstack = 53, SYS_munmap = 73, SYS_mprotect = 74, SYS_getrlimit = 194,
	SYS_setrlimit = 195, SYS_sysctl = 202, SYS_sigprocmask = 340, SYS_sigaction = 416,
	SYS_mmap = 477, SYS_lseek = 478,
};
enum { SIGILL = 4, SIGTRAP = 5, SIGFPE = 8, SIGBUS = 10, SIGSEGV = 11 };
enum { SEGV_MAPERR = 1, SEGV_ACCERR = 2, BUS_ADRALN = 1, BUS_ADRERR = 2, BUS_OBJERR = 3 };
enum { EBADF = 9, ENOMEM = 12, EACCES = 13, EFAULT = 14, EINVAL = 22 };
enum { PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 4, PROT_RW = 3 };
enum {
	MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_STACK = 0x400, MAP_ANON = 0x1000,
	MAP_GUARD = 0x2000,
};
enum { SA_ONSTACK = 1, SA_NODEFER = 0x10, SA_SIGINFO = 0x40, SS_DISABLE = 4, MINSIGSTKSZ = 2048 };
enum { RLIMIT_DATA = 2, RLIMIT_STACK = 3, RLIMIT_VMEM = 10 };

struct rlimit { unsigned long cur, max; };
struct siginfo { int signo, error, code, pid, uid, status; void *addr; long rest[6]; };
struct ucontext { unsigned mask[4]; unsigned long gap[20], rip, cs, rflags, rsp, ss; };
struct sigaction {
	void (*handler)(int, struct siginfo *, struct ucontext *);
	int flags;
	unsigned mask[4];
};
struct stack { void *sp; unsigned long size; int flags; };

/* Any system call: the result, or minus errno when the kernel set carry. */
static inline long sys(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result = number;
	char failed;

	__asm__ volatile("syscall"
		: "+a"(result), "=@ccc"(failed), "+d"(c), "+r"(r10), "+r"(r8), "+r"(r9)
		: "D"(a), "S"(b)
		: "rcx", "r11", "memory");
	return failed ? -result : result;
}

/* A signal action; the kernel returns through its own trampoline. */
#define SIGACTION(function, how) { .handler = (function), .flags = (how) }
