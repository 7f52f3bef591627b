/* Other traps than page faults; si_addr is the instruction. */
#include "fault.h"

enum { FPE_INTDIV = 2, ILL_PRVOPC = 5, TRAP_BRKPT = 1 };

static char *at; /* the instruction that traps */

static void divide(void *p)
{
	__asm__ volatile("lea 1f(%%rip), %0; xor %%edx, %%edx; mov $1, %%eax; xor %%ecx, %%ecx; mov %0, %1\n"
		"1: idiv %%ecx" : "=&r"(p), "=m"(at) :: "rax", "rcx", "rdx");
}

static void undefined(void *p)
{
	__asm__ volatile("lea 1f(%%rip), %0; mov %0, %1\n1: ud2" : "=&r"(p), "=m"(at));
}

static void privileged(void *p)
{
	__asm__ volatile("lea 1f(%%rip), %0; mov %0, %1\n1: hlt" : "=&r"(p), "=m"(at));
}

static void breakpoint(void *p)
{
	__asm__ volatile("lea 1f(%%rip), %0; mov %0, %1\n1: int3" : "=&r"(p), "=m"(at));
}

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	catch_faults();
	check("division by zero", !attempt(divide, 0));
	check("is SIGFPE, FPE_INTDIV", was(SIGFPE, FPE_INTDIV, at));
	check("an undefined instruction", !attempt(undefined, 0));
	check("is SIGILL, ILL_PRVOPC", was(SIGILL, ILL_PRVOPC, at));
	check("a privileged instruction", !attempt(privileged, 0));
	check("is SIGBUS, BUS_OBJERR", was(SIGBUS, BUS_OBJERR, at));
	check("a breakpoint", !attempt(breakpoint, 0));
	check("is SIGTRAP, TRAP_BRKPT, behind it", was(SIGTRAP, TRAP_BRKPT, at + 1));
	check("four traps, four signals", caught.count == 4);
	return 0;
}
