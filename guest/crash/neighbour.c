/* A mapping placed into the stack's reserve, and a recursion that reaches it. */
#include "crash.h"

static NOINLINE void descend(void *p)
{
	volatile char frame[1000];

	KEEP(frame);
	descend(p);
	KEEP(frame);
}

int main(int argc, char **argv, char **envp)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0) & -PAGE;
	char *wall = (char *)(here - 1024 * 1024);

	(void)argc, (void)argv, (void)envp;
	wall = sys_mmap(wall, PAGE, PROT_READ, MAP_ANON | MAP_PRIVATE | MAP_FIXED, -1, 0);
	show("neighbour", (unsigned long)wall);
	descend(0);
	return 0;
}
