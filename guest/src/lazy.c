/* A handler repairs the fault and returns: the same instruction runs again and succeeds. */
#include "fault.h"

static char *arena;
static int repaired;

static void map_it(int signo, struct siginfo *info, struct ucontext *uc)
{
	char *page = (char *)((unsigned long)info->addr & -PAGE);

	(void)signo, (void)uc;
	if (info->code == SEGV_ACCERR)
		sys_mprotect(page, PAGE, PROT_RW);
	else
		sys_mmap(page, PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE | MAP_FIXED, -1, 0);
	repaired++;
}

int main(int argc, char **argv, char **envp)
{
	const struct sigaction action = SIGACTION(map_it, SA_SIGINFO);
	unsigned long n = 4 * PAGE, sum = 0;
	char *to;

	(void)argc, (void)argv, (void)envp;
	sys_sigaction(SIGSEGV, &action);
	arena = sys_mmap(0, 8 * PAGE, PROT_NONE, MAP_ANON | MAP_PRIVATE, -1, 0);
	to = arena;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(3) : "memory");
	check("rep stosb ran through four repairs", repaired == 4 && to == arena + 4 * PAGE && n == 0);
	for (int i = 0; i < 4 * (int)PAGE; i++)
		sum += arena[i];
	check("every byte was written once", sum == 3 * 4 * PAGE);
	sys_munmap(arena + 4 * PAGE, 4 * PAGE);
	*(volatile unsigned long *)(arena + 6 * PAGE - 4) = 0x0102030405060708;
	check("a store over two missing pages", repaired == 6);
	check("lost nothing", arena[6 * PAGE - 4] == 8 && arena[6 * PAGE + 3] == 1);
	check("a read is repaired too", *(volatile char *)(arena + 7 * PAGE) == 0 && repaired == 7);
	check("the page in between stays away", sys_write(1, arena + 4 * PAGE, 1) == -EFAULT);
	return 0;
}
