/* The system calls guests make: the result, or minus errno. */
#pragma once

#define CALL(number, a, b, c, d, e, f) \
	sys(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

__attribute__((noreturn)) static inline void sys_exit(int status)
{
	for (;;)
		CALL(SYS_exit, status, 0, 0, 0, 0, 0);
}

static inline long sys_read(int fd, void *buf, unsigned long n)
{
	return CALL(SYS_read, fd, buf, n, 0, 0, 0);
}

static inline long sys_write(int fd, const void *buf, unsigned long n)
{
	return CALL(SYS_write, fd, buf, n, 0, 0, 0);
}

static inline long sys_open(const char *path, int flags)
{
	return CALL(SYS_open, path, flags, 0, 0, 0, 0);
}

static inline long sys_lseek(int fd, long offset, int whence)
{
	return CALL(SYS_lseek, fd, offset, whence, 0, 0, 0);
}

static inline void *sys_mmap(void *hint, unsigned long n, int prot, int flags, int fd, long offset)
{
	return (void *)CALL(SYS_mmap, hint, n, prot, flags, fd, offset);
}

static inline int sys_munmap(void *start, unsigned long n)
{
	return (int)CALL(SYS_munmap, start, n, 0, 0, 0, 0);
}

static inline int sys_mprotect(void *start, unsigned long n, int prot)
{
	return (int)CALL(SYS_mprotect, start, n, prot, 0, 0, 0);
}

static inline int sys_getrlimit(int which, struct rlimit *limit)
{
	return (int)CALL(SYS_getrlimit, which, limit, 0, 0, 0, 0);
}

static inline int sys_setrlimit(int which, const struct rlimit *limit)
{
	return (int)CALL(SYS_setrlimit, which, limit, 0, 0, 0, 0);
}

static inline int sys_sigaltstack(const struct stack *stack, struct stack *old)
{
	return (int)CALL(SYS_sigaltstack, stack, old, 0, 0, 0, 0);
}

/* mmap answers an address, or minus errno. */
static inline int failed(const void *p) { return (unsigned long)p > -4096UL; }

static inline int sys_sigaction(int signo, const struct sigaction *action)
{
	return (int)CALL(SYS_sigaction, signo, action, 0, 8, 0, 0); /* Linux asks for the 8 */
}
