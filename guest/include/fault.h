/* Try something that may fault, and look at what the kernel said about it. */
#pragma once
#include "guest.h"

static struct {
	int count, signo, code;
	void *addr;
	unsigned long handler_sp; /* where the handler ran */
	unsigned long fault_sp;   /* where the stack was */
} caught;

static char altstack[4 * PAGE] __attribute__((aligned(16)));

/* Where attempt() goes on after a fault. */
static unsigned long resume_rip __attribute__((used)), resume_rsp __attribute__((used));

static void note_fault(int signo, struct siginfo *info, struct ucontext *uc)
{
	caught.count++;
	caught.signo = signo;
	caught.code = info->code;
	caught.addr = info->addr;
	caught.handler_sp = (unsigned long)__builtin_frame_address(0);
	caught.fault_sp = uc->rsp;
	uc->rip = resume_rip;
	uc->rsp = resume_rsp;
}

/* Faults are noted by a handler on the alternate stack. */
static inline void catch_faults(void)
{
	const struct stack stack = { .sp = altstack, .size = sizeof altstack };
	const struct sigaction action = SIGACTION(note_fault, SA_SIGINFO | SA_ONSTACK);

	sys_sigaltstack(&stack, 0);
	sys_sigaction(SIGSEGV, &action);
	sys_sigaction(SIGBUS, &action);
	sys_sigaction(SIGILL, &action);
	sys_sigaction(SIGFPE, &action);
	sys_sigaction(SIGTRAP, &action);
}

/* Call function(argument): 1 when it came back, 0 when a fault cut it short. */
__attribute__((naked)) static int attempt(void (*function)(void *) __attribute__((unused)),
					  void *argument __attribute__((unused)))
{
	__asm__("push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rax\n"
		"lea 1f(%rip), %rax; mov %rax, resume_rip(%rip); mov %rsp, resume_rsp(%rip)\n"
		"mov %rdi, %rax; mov %rsi, %rdi; call *%rax; mov $1, %eax; jmp 2f\n"
		"1: xor %eax, %eax\n"
		"2: pop %rcx; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret");
}

static void read_byte(void *p) { (void)*(volatile char *)p; }
static void write_byte(void *p) { *(volatile char *)p = 1; }

static inline int can_read(const void *p) { return attempt(read_byte, (void *)p); }
static inline int can_write(void *p) { return attempt(write_byte, p); }

/* The last fault was this signal, with this code, at this address. */
static inline int was(int signo, int code, const void *addr)
{
	return caught.signo == signo && caught.code == code && caught.addr == addr;
}
