/* Give a buffer back, and read it once more. */
#include "crash.h"

static NOINLINE char *make(void)
{
	char *buffer = sys_mmap(0, 4 * PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE, -1, 0);

	buffer[PAGE + 8] = 7;
	return buffer;
}

static NOINLINE void release(char *buffer) { sys_munmap(buffer, 4 * PAGE); }

static NOINLINE int use(volatile char *buffer) { return buffer[PAGE + 8]; }

int main(int argc, char **argv, char **envp)
{
	char *buffer = make();

	(void)argc, (void)argv, (void)envp;
	show("before", (unsigned long)use(buffer));
	release(buffer);
	announce(buffer + PAGE + 8);
	show("after", (unsigned long)use(buffer));
	return 0;
}
