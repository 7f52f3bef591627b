/* Change a string constant. */
#include "crash.h"

static NOINLINE void capitalise(volatile char *s) { s[0] = (char)(s[0] - 'a' + 'A'); }

static const char greeting[] = "good morning";

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	announce(greeting);
	capitalise((char *)OPAQUE(&greeting[0]));
	put(greeting);
	return 0;
}
