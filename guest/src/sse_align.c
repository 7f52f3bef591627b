/* movaps wants an address that is a multiple of 16; movups takes any. */
#include "fault.h"

static char bytes[64] __attribute__((aligned(16)));

static void load_aligned(void *from)
{
	__asm__ volatile("movaps (%0), %%xmm0" :: "r"(from) : "xmm0", "memory");
}

static void store_aligned(void *to)
{
	__asm__ volatile("movaps %%xmm0, (%0)" :: "r"(to) : "memory");
}

static void load_any(void *from)
{
	__asm__ volatile("movups (%0), %%xmm0" :: "r"(from) : "xmm0", "memory");
}

static int general_protection(void) { return caught.signo == SIGBUS && caught.code == BUS_OBJERR; }

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	catch_faults();
	check("an aligned load and store", attempt(load_aligned, bytes + 16) && attempt(store_aligned, bytes + 32));
	check("movups loads from anywhere", attempt(load_any, bytes + 9));
	check("a misaligned load", !attempt(load_aligned, bytes + 8));
	check("is SIGBUS, BUS_OBJERR", general_protection());
	check("a misaligned store", !attempt(store_aligned, bytes + 1));
	check("is the same", general_protection() && caught.count == 2);
	return 0;
}
