/* push, call, rep stos and a straddling store as the instruction that leaves the stack. */
#include "env.h"

extern char leaf[];
static unsigned long low; /* end of the untouched stack, page aligned, moved down per use */

static void push_at_edge(void *to)
{
	__asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp; push $77; pop %%rax; mov %%rbx, %%rsp"
		:: "r"(to) : "rbx", "rax", "memory");
}

static void call_at_edge(void *to)
{
	__asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp; call leaf; mov %%rbx, %%rsp; jmp 2f\n"
		"leaf: ret\n2:" :: "r"(to) : "rbx", "memory");
}

static void fill_down(void *to)
{
	unsigned long n = 3 * PAGE, p = (unsigned long)to + PAGE - 1;

	__asm__ volatile("std; rep stosb; cld" : "+c"(n), "+D"(p) : "a"(9) : "memory");
}

static void straddle(void *to) { *(volatile unsigned long *)((char *)to - 3) = 0x1122334455667788; }

/* The next address whose page below is not mapped: growth is by whole steps. */
static void *edge(void)
{
	low -= 4 * SGROWSIZ;
	(void)*(volatile char *)low;
	return (void *)low;
}

int main(int argc, char **argv, char **envp)
{
	unsigned long *word;
	char *at;

	(void)argc, (void)argv, (void)envp;
	catch_faults();
	low = usrstack();
	word = edge();
	check("push grows the stack", attempt(push_at_edge, word) && word[-1] == 77);
	word = edge();
	check("call grows it", attempt(call_at_edge, word) && word[-1] != 0);
	at = edge();
	check("rep stosb runs down over the edge", attempt(fill_down, at));
	check("and filled every byte", at[PAGE - 1] == 9 && at[-1] == 9 && at[-2 * (long)PAGE] == 9);
	check("and not one more", at[-2 * (long)PAGE - 1] == 0 && at[PAGE] == 0);
	at = edge();
	check("a store may straddle the edge", attempt(straddle, at));
	check("both halves arrived", at[-3] == (char)0x88 && at[-1] == 0x66 && at[0] == 0x55 && at[4] == 0x11);
	check("no fault was seen", caught.count == 0);
	return 0;
}
