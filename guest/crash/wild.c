/* A pointer overwritten by text. */
#include "crash.h"

static union {
	char text[9];
	volatile long *pointer;
} record;

static NOINLINE void store(volatile long *to, long value) { *to = value; }

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	record.pointer = (long *)&record;
	for (int i = 0; i < 8; i++)
		record.text[i] = "hello\0\0"[i];
	announce(record.pointer);
	store(OPAQUE(record.pointer), 1);
	return 0;
}
