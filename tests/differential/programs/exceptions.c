/* What the processor refuses, again and again: signal, code, address, trap number and error code of each. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static char *page;

static void refused(int signo, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	unsigned long addr = (unsigned long)info->si_addr, base = (unsigned long)page;

	if (signo == SIGFPE || signo == SIGILL)
		addr = addr == (unsigned long)regs[REG_RIP];
	else if (addr - base < 1 << 20)
		addr -= base;
	printf("signal %d code %d addr %#lx trap %lld err %lld\n", signo, info->si_code, addr, (long long)regs[REG_TRAPNO],
		(long long)regs[REG_ERR]);
	if (signo == SIGFPE)
		regs[REG_RCX] = 7;
	else if (signo != SIGTRAP)
		siglongjmp(back, 1);
}

#define TRY(what) do { if (!sigsetjmp(back, 1)) { what; puts("no signal"); } } while (0)

int main(void)
{
	int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP }, i, quotient, fd;
	struct sigaction sa = { .sa_sigaction = refused, .sa_flags = SA_SIGINFO };
	volatile double x = 1.5;

	for (i = 0; i < 5; i++)
		sigaction(signals[i], &sa, 0);
	page = mmap(0, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fd = open("scratch", O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (ftruncate(fd, 100) || mmap(page + 8192, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return 1;
	for (i = 0; i < 3; i++) {
		x *= 1.25;
		TRY(*(volatile int *)16 = 1);
		TRY((void)*(volatile char *)(page + 3); page[5] = 1);
		TRY(((void (*)(void))page)());
		TRY(((void (*)(void))8)());
		TRY((void)*(volatile int *)0x8000000000000000);
		TRY((void)*(volatile int *)0xffffffff80000000);
		TRY(__builtin_trap());
		TRY(__asm__ volatile("hlt"));
		TRY(__asm__ volatile("cli"));
		TRY(__asm__ volatile("int $0x30"));
		TRY(page[8192 + 50] = 1; page[8192 + 4096] = 1);
		__asm__ volatile("int3");
		__asm__ volatile("xor %%ecx, %%ecx; mov $100, %%eax; cdq; idivl %%ecx" : "=a"(quotient) : : "rcx", "rdx", "cc");
		printf("quotient %d x %g\n", quotient, x);
	}
	return 0;
}
