/* A recursion whose end condition is never met. */
#include "crash.h"

static NOINLINE unsigned long depth_of(unsigned long n)
{
	volatile unsigned long local[20];

	KEEP(local);
	local[0] = n;
	if (n == 0)
		return 0;
	return depth_of(n + 1) + local[0]; /* should be n - 1 */
}

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	show("stack", (unsigned long)__builtin_frame_address(0));
	show("depth", depth_of(1));
	return 0;
}
