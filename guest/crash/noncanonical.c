/* A pointer with rubbish in its upper half. */
#include "crash.h"

static NOINLINE int load(const volatile int *p) { return *p; }

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	return load(OPAQUE((int *)0xdeadbeefcafef00dUL));
}
