/* An aligned 16-byte load from an address that is not. */
#include "crash.h"

static char bytes[64] __attribute__((aligned(16)));

static NOINLINE void load(const char *p) { __asm__ volatile("movaps (%0), %%xmm0" :: "r"(p) : "xmm0", "memory"); }

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	load(bytes);
	show("load from", (unsigned long)(bytes + 8));
	load(OPAQUE(bytes + 8));
	return 0;
}
