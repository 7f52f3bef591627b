/* A system call's buffer is the first touch: the kernel grows the stack for its own copy. */
#include "env.h"

int main(int argc, char **argv, char **envp)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0) & -PAGE;
	struct rlimit *limit = (struct rlimit *)(here - 8 * SGROWSIZ);
	char *buffer = (char *)(here - 4 * SGROWSIZ), *source = (char *)(here - 16 * SGROWSIZ);
	int zero = sys_open("/dev/zero", 0), null = sys_open("/dev/null", 1);

	(void)argc, (void)argv, (void)envp;
	check("/dev/zero and /dev/null open", zero >= 0 && null >= 0);
	check("read fills untouched stack", sys_read(zero, buffer, 2 * PAGE + 5) == 2 * PAGE + 5);
	check("it is zero", buffer[0] == 0 && buffer[2 * PAGE + 4] == 0);
	check("getrlimit writes further down", sys_getrlimit(RLIMIT_STACK, limit) == 0);
	check("and its answer is there", limit->cur > 16 * SGROWSIZ && limit->max >= limit->cur);
	check("write reads still further down", sys_write(null, source, PAGE) == PAGE);
	check("the pages between can be used", source[0] == 0 && source[5 * SGROWSIZ] == 0);
	check("below the limit it is EFAULT", sys_getrlimit(0, (void *)(usrstack() - stack_limit() - PAGE)) == -EFAULT);
	return 0;
}
