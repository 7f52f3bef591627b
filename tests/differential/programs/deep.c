/* A naive recursion that uses most of 8 MiB, twice. */
#include <stdio.h>

static unsigned long depth_sum(unsigned long n)
{
	volatile unsigned long keep[4] = { n, n + 1, n + 2, n + 3 };

	return n ? depth_sum(n - 1) + keep[n % 4] - n % 4 : 0;
}

int main(void)
{
	printf("%lu\n", depth_sum(60000));
	printf("%lu\n", depth_sum(70000));
	return 0;
}
