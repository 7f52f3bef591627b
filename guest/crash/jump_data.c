/* Call through a pointer that points at data. */
#include "crash.h"

static unsigned char table[] = { 0xb8, 1, 0, 0, 0, 0xc3 }; /* mov $1, %eax; ret: but data */

static NOINLINE int call(int (*function)(void)) { return function() + 1; }

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	announce(table);
	return call((int (*)(void))OPAQUE(&table[0]));
}
