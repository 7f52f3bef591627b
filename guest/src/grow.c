/* Recurse until the stack has grown three times, then find every frame intact. */
#include "env.h"

enum { DEPTH = 110 }; /* frames of one page: 440 KiB below the first */

static unsigned long end; /* of the process stack */
static unsigned long low; /* the deepest frame */

/* Whole growth steps between the end of the stack and an address. */
static unsigned long steps(unsigned long address) { return (end - address) / SGROWSIZ; }

static NOINLINE int descend(int depth, unsigned long caller)
{
	volatile unsigned long frame[PAGE / sizeof(long) - 8];
	unsigned long here = (unsigned long)frame;
	int intact = 1;

	frame[0] = here;
	low = here;
	if (depth % 32 == 0 || steps(here) != steps(caller)) {
		put(steps(here) != steps(caller) ? "* depth " : "  depth ");
		put_dec(depth);
		show(" frame", here);
	}
	if (depth < DEPTH)
		intact = descend(depth + 1, here);
	return intact && frame[0] == here;
}

int main(int argc, char **argv, char **envp)
{
	unsigned long top = (unsigned long)__builtin_frame_address(0);
	int intact;

	(void)argc, (void)argv, (void)envp;
	end = usrstack();
	put("* marks a frame in a new 128 KiB step\n");
	intact = descend(1, top);
	show("bytes used", top - low);
	check("the stack grew three steps", steps(low) == 3);
	check("every frame kept its mark", intact);
	return 0;
}
