/* Deep recursion with a canary in every frame: 6 MiB of stack, checked on the way back. */
#include "guest.h"

enum { DEPTH = 24000 };

static unsigned long low = -1UL, high;

static NOINLINE unsigned long descend(unsigned long depth)
{
	volatile unsigned long canary[26];
	unsigned long here = (unsigned long)canary, below;

	canary[0] = here;
	canary[25] = depth;
	low = here < low ? here : low;
	high = here > high ? here : high;
	if (depth % 4000 == 0)
		show("frame", here);
	below = depth < DEPTH ? descend(depth + 1) : 0;
	return canary[0] == here && canary[25] == depth ? below + 1 : 0;
}

int main(int argc, char **argv, char **envp)
{
	unsigned long frames = descend(1);

	(void)argc, (void)argv, (void)envp;
	show("stack used", high - low);
	check("it is more than 5 MiB", high - low > 5 << 20);
	check("every canary lived", frames == DEPTH);
	return 0;
}
