/* alloca in a loop: every turn takes another page, none is given back. */
#include "crash.h"

static NOINLINE unsigned long collect(unsigned long n)
{
	unsigned long sum = 0;

	for (unsigned long i = 0; i < n; i++) {
		volatile char *page = __builtin_alloca(PAGE);

		page[0] = (char)i;
		sum += page[0];
	}
	return sum;
}

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	show("stack", (unsigned long)__builtin_frame_address(0));
	show("sum", collect(1 << 20));
	return 0;
}
