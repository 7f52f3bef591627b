/* One local array larger than the whole stack may be. */
#include "crash.h"

static NOINLINE int sum_table(int n)
{
	volatile char table[16 << 20];

	table[0] = (char)n; /* the lowest byte: 16 MiB below */
	return table[0] + table[n];
}

int main(int argc, char **argv, char **envp)
{
	(void)argv, (void)envp;
	show("stack", (unsigned long)__builtin_frame_address(0));
	show("sum", sum_table(argc));
	return 0;
}
