/* A hand-made stack with a PROT_NONE page below it, and a recursion too deep for it. */
#include "crash.h"

/* Call function(argument) on another stack, given by its top. */
__attribute__((naked)) static void call_on(char *top __attribute__((unused)),
					   void (*function)(void *) __attribute__((unused)),
					   void *argument __attribute__((unused)))
{
	__asm__("push %rbp; mov %rsp, %rbp; mov %rdi, %rsp; mov %rdx, %rdi; call *%rsi\n"
		"mov %rbp, %rsp; pop %rbp; ret");
}

static NOINLINE void descend(void *p)
{
	volatile char frame[200];

	KEEP(frame);
	descend(p);
	KEEP(frame);
}

int main(int argc, char **argv, char **envp)
{
	char *stack = sys_mmap(0, 9 * PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE, -1, 0);

	(void)argc, (void)argv, (void)envp;
	sys_mprotect(stack, PAGE, PROT_NONE);
	show("guard page", (unsigned long)stack);
	call_on(stack + 9 * PAGE, descend, 0);
	return 0;
}
