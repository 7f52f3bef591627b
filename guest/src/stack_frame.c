/* One frame of a megabyte: the first touch is far below the stack, and one growth answers it. */
#include "guest.h"

enum { SIZE = 1 << 20 };

static unsigned long frame;

static NOINLINE int big_frame(void)
{
	volatile char buffer[SIZE];

	frame = (unsigned long)buffer;
	buffer[0] = 1; /* the lowest byte comes first */
	buffer[SIZE - 1] = 2;
	for (unsigned long i = PAGE; i < SIZE - PAGE; i += PAGE)
		if (buffer[i])
			return 0;
	return buffer[0] == 1 && buffer[SIZE - 1] == 2;
}

int main(int argc, char **argv, char **envp)
{
	unsigned long top = (unsigned long)__builtin_frame_address(0);
	int right = big_frame();

	(void)argc, (void)argv, (void)envp;
	show("main's frame", top);
	show("the big frame", frame);
	check("it is a megabyte below", top - frame > SIZE);
	check("it holds what was written, and zeros", right);
	return 0;
}
