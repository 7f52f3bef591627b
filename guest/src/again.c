/* execve replaces everything: a second life of the same program, told by its argument. */
#include "env.h"

enum { SYS_execve = 59, SYS_fcntl = 92, SYS_dup2 = 90, F_SETFD = 2, F_GETFD = 1, ENOENT = 2 };

static int marker = 1;

static long execve(const char *path, char **argv, char **envp) { return CALL(SYS_execve, path, argv, envp, 0, 0, 0); }

static int first_life(char **argv)
{
	char *next[] = { argv[0], "second", 0 }, *env[] = { "LIFE=2", 0 };
	char *page = sys_mmap((void *)0x20000000, PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE | MAP_FIXED, -1, 0);

	marker = 2;
	page[0] = 1;
	(void)*(volatile char *)((char *)&next - 4 * SGROWSIZ); /* a larger stack */
	CALL(SYS_dup2, 1, 20, 0, 0, 0, 0);
	CALL(SYS_dup2, 1, 21, 0, 0, 0, 0);
	CALL(SYS_fcntl, 21, F_SETFD, 1, 0, 0, 0);
	check("a missing file is ENOENT", execve("/no such file", next, env) == -ENOENT);
	check("a directory is EACCES", execve("/", next, env) == -EACCES);
	check("a bad argument vector is EFAULT", execve(argv[0], (char **)8, env) == -EFAULT);
	check("the old image goes on", marker == 2 && page[0] == 1);
	execve(argv[0], next, env);
	return 99;
}

int main(int argc, char **argv, char **envp)
{
	if (argc < 2)
		return first_life(argv);
	catch_faults();
	check("the arguments came over", argc == 2 && same(argv[1], "second"));
	check("so did the environment", same(env(envp, "LIFE"), "2") && !envp[1]);
	check("data is fresh", marker == 1);
	check("mappings are gone", !can_read((void *)0x20000000));
	check("descriptors stay", CALL(SYS_fcntl, 20, F_GETFD, 0, 0, 0, 0) == 0);
	check("unless they close on exec", CALL(SYS_fcntl, 21, F_GETFD, 0, 0, 0, 0) == -EBADF);
	check("the stack grows again", can_write((char *)usrstack() - 4 * SGROWSIZ));
	return 0;
}
