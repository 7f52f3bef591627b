/* Count the letters of a string that is not there. */
#include "crash.h"

static NOINLINE unsigned long length(const volatile char *s)
{
	unsigned long n = 0;

	while (s[n])
		n++;
	return n;
}

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)envp;
	show("length of the name", length(argv[0]));
	announce(0);
	show("length of nothing", length(OPAQUE((char *)0)));
	return 0;
}
