/* Linux x86-64 as a program sees it: the same names, other numbers. */
#pragma once

/* The kernel leaves argc where rsp points. */
#define ARGC_TO_RDI "mov %rsp, %rdi; "

enum {
	SYS_read = 0, SYS_write = 1, SYS_open = 2, SYS_lseek = 8, SYS_mmap = 9, SYS_mprotect = 10,
	SYS_munmap = 11, SYS_sigaction = 13, SYS_sigreturn = 15, SYS_exit = 60, SYS_getrlimit = 97,
	SYS_sigaltstack = 131, SYS_setrlimit = 160,
};
enum { SIGILL = 4, SIGTRAP = 5, SIGBUS = 7, SIGFPE = 8, SIGSEGV = 11 };
enum { SEGV_MAPERR = 1, SEGV_ACCERR = 2, BUS_ADRALN = 1, BUS_ADRERR = 2, BUS_OBJERR = 3 };
enum { EBADF = 9, ENOMEM = 12, EACCES = 13, EFAULT = 14, EINVAL = 22 };
enum { PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 4, PROT_RW = 3 };
enum { MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANON = 0x20, MAP_STACK = 0x20000 };
enum {
	SA_SIGINFO = 4, SA_RESTORER = 0x4000000, SA_ONSTACK = 0x8000000, SA_NODEFER = 0x40000000,
	SS_DISABLE = 2, MINSIGSTKSZ = 2048,
};
enum { RLIMIT_DATA = 2, RLIMIT_STACK = 3, RLIMIT_VMEM = 9 };

struct rlimit { unsigned long cur, max; };
struct siginfo { int signo, error, code, pad; void *addr; long rest[13]; };
struct ucontext { unsigned long gap[20], rsp, rip, rflags; };
struct sigaction {
	void (*handler)(int, struct siginfo *, struct ucontext *);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};
struct stack { void *sp; int flags; unsigned long size; };

/* Any system call: the result, or minus errno as the kernel returns it. */
static inline long sys(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
		: "+a"(number)
		: "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return number;
}

__attribute__((naked, used)) static void signal_return(void)
{
	__asm__("mov $15, %eax; syscall");
}

/* A signal action; the program brings its own return trampoline. */
#define SIGACTION(function, how) \
	{ .handler = (function), .flags = (how) | SA_RESTORER, .restorer = signal_return }
