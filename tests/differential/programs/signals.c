/* Handlers with siginfo, masks, an alternate stack, and a way out through siglongjmp. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf out;
static volatile sig_atomic_t count, code;
static void *volatile where;
static char *volatile page;
static char altstack[32768];
static volatile int on_alt;

static void fault(int signo, siginfo_t *info, void *context)
{
	char here;

	(void)context;
	count++, code = info->si_code, where = info->si_addr;
	on_alt = &here > altstack && &here < altstack + sizeof altstack;
	siglongjmp(out, signo);
}

static void skip(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	count++, code = info->si_code;
	uc->uc_mcontext.gregs[REG_RIP] += 2; /* ud2 */
	uc->uc_mcontext.gregs[REG_RAX] = 1234 + (signo == SIGILL);
}

static void simple(int signo) { printf("signal %d\n", signo); }

static void install(int signo, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = { .sa_sigaction = f, .sa_flags = SA_SIGINFO | flags };

	sigaction(signo, &action, 0);
}

static void try(const char *what, char *address, int store)
{
	int signo = sigsetjmp(out, 1);

	if (signo == 0) {
		if (store)
			*(volatile char *)address = 1;
		else
			(void)*(volatile char *)address;
		printf("%s: fine\n", what);
	} else
		printf("%s: signal %d code %d offset %ld alt %d\n", what, signo, (int)code,
			(long)((char *)where - (page ? page : 0)), on_alt);
}

int main(void)
{
	stack_t stack = { .ss_sp = altstack, .ss_size = sizeof altstack }, old;
	sigset_t set, pending;
	long rax = 0;

	page = mmap(0, 16384, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + 8192, 4096);
	install(SIGSEGV, fault, 0);
	try("read it", page + 5, 0);
	try("write it", page + 5, 1);
	sigaltstack(&stack, 0);
	install(SIGSEGV, fault, SA_ONSTACK);
	try("the hole", page + 8192 + 77, 1);
	mprotect(page, 4096, PROT_NONE);
	try("no rights", page + 4095, 0);
	sigaltstack(0, &old);
	printf("altstack %zu flags %d\n", old.ss_size, old.ss_flags);
	install(SIGILL, skip, 0);
	__asm__ volatile("ud2" : "+a"(rax));
	printf("skipped: %ld, code %d\n", rax, (int)code > 0);
	install(SIGFPE, fault, SA_NODEFER);
	if (sigsetjmp(out, 1) == 0) {
		volatile int zero = 0;
		printf("%d\n", 1 / zero);
	} else
		printf("division: code %d\n", (int)code);
	signal(SIGUSR1, simple);
	raise(SIGUSR1);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, 0);
	raise(SIGUSR1);
	sigpending(&pending);
	printf("blocked, pending %d\n", sigismember(&pending, SIGUSR1));
	sigprocmask(SIG_UNBLOCK, &set, 0);
	signal(SIGUSR1, SIG_IGN);
	printf("ignored %d\n", raise(SIGUSR1));
	printf("kill %d %d\n", kill(getpid(), 0), kill(getpid(), 99));
	printf("%d faults\n", (int)count);
	fflush(stdout);
	signal(SIGSEGV, SIG_DFL);
	*(volatile char *)page = 0;
	return 0;
}
