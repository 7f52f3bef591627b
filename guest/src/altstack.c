/* A handler on the alternate stack can look at a stack that has overflowed. */
#include "env.h"

static struct stack inside;
static unsigned long depth;

static void look(int signo, struct siginfo *info, struct ucontext *uc)
{
	sys_sigaltstack(0, &inside);
	note_fault(signo, info, uc);
}

static NOINLINE void descend(void *p)
{
	volatile char frame[512];

	frame[0] = frame[511] = 1;
	depth++;
	descend(p);
	frame[1] = 1;
}

int main(int argc, char **argv, char **envp)
{
	const struct sigaction action = SIGACTION(look, SA_SIGINFO | SA_ONSTACK);
	unsigned long bottom = usrstack() - stack_limit();
	const struct stack small = { .sp = altstack, .size = 100 };
	struct stack after;

	(void)argc, (void)argv;
	catch_faults();
	sys_sigaction(SIGSEGV, &action);
	check("a stack of 100 bytes is too small", sys_sigaltstack(&small, 0) == -ENOMEM);
	check("endless recursion ends", !attempt(descend, 0));
	show("frames", depth);
	check("with SIGSEGV", caught.signo == SIGSEGV && caught.code == overflow_code(envp));
	check("below the limit", (unsigned long)caught.addr < bottom && (unsigned long)caught.addr > bottom - PAGE);
	check("the handler ran on the alternate stack", caught.handler_sp > (unsigned long)altstack
		&& caught.handler_sp < (unsigned long)altstack + sizeof altstack);
	check("which sigaltstack knew", inside.flags == SA_ONSTACK && inside.sp == altstack);
	check("the faulting stack is in the context", (unsigned long)caught.addr - caught.fault_sp + PAGE < 2 * PAGE);
	check("afterwards it is free again", sys_sigaltstack(0, &after) == 0 && after.flags == 0);
	depth = 0;
	check("and serves a second time", !attempt(descend, 0) && caught.count == 2 && depth > 1000);
	return 0;
}
