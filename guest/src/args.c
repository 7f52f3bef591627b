/* The first stack: argument and environment vectors, then the auxiliary vector. */
#include "env.h"

enum { AT_PHDR = 3, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_ENTRY = 9, AT_EXECPATH = 15, AT_CANARY, AT_CANARYLEN };
enum { AT_STACKPROT = 23 };

struct ps_strings { char **argv; int argc; char **envp; int envc; };

static unsigned long aux[64];

static int headers_found(const unsigned *p, unsigned long entries)
{
	while (entries--) {
		if (p[0] == 6 && (p[4] - (unsigned)(unsigned long)p) % PAGE == 0) /* PT_PHDR names itself */
			return 1;
		p += aux[AT_PHENT] / sizeof *p;
	}
	return 0;
}

static struct ps_strings *ps_strings(void)
{
	int name[2] = { 1, 32 }; /* CTL_KERN, KERN_PS_STRINGS */
	struct ps_strings *where = 0;
	unsigned long size = sizeof where;

	CALL(SYS_sysctl, name, 2, &where, &size, 0, 0);
	return where;
}

int main(int argc, char **argv, char **envp)
{
	struct ps_strings *ps = ps_strings();
	unsigned long *p = (unsigned long *)envp;
	const unsigned long *canary;
	int envc = 0;

	while (*p++)
		envc++;
	for (; p[0]; p += 2)
		if (p[0] < 64)
			aux[p[0]] = p[1];
	show("argc at", (unsigned long)(argv - 1));
	check("three arguments, then a null pointer", argc == 3 && !argv[3]);
	check("the arguments are in order", same(argv[1], "one") && same(argv[2], "two words"));
	check("the strings lie back to back", argv[2] == argv[1] + 4 && envp[0] == argv[2] + 10);
	check("the environment is there", envc == 2 && same(env(envp, "COLOUR"), "blue"));
	check("AT_PAGESZ is 4096", aux[AT_PAGESZ] == PAGE);
	check("AT_ENTRY is _start", aux[AT_ENTRY] == (unsigned long)_start);
	check("AT_PHDR finds the program headers", headers_found((unsigned *)aux[AT_PHDR], aux[AT_PHNUM]));
	check("AT_EXECPATH names a file", sys_open((char *)aux[AT_EXECPATH], 0) >= 0);
	canary = (unsigned long *)aux[AT_CANARY];
	check("AT_CANARY gives 64 random bytes", aux[AT_CANARYLEN] == 64 && canary[0] != canary[7]);
	check("AT_STACKPROT is what PT_GNU_STACK asked", aux[AT_STACKPROT] == PROT_RW);
	check("ps_strings points at both vectors", ps->argv == argv && ps->envp == envp);
	check("ps_strings counts them", ps->argc == argc && ps->envc == envc);
	return 0;
}
