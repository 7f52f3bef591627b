/* Patch the program's own code, which is mapped without the right to write. */
#include "crash.h"

static NOINLINE int answer(void)
{
	__asm__ volatile("");
	return 41;
}

static NOINLINE void patch(volatile unsigned char *code) { code[1] = 42; }

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	announce((char *)answer + 1);
	patch((unsigned char *)OPAQUE(&answer));
	return answer();
}
