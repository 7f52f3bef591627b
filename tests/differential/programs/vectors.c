/* Arguments, environment, and the part of the auxiliary vector that does not depend on the machine. */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

extern char **environ;
extern void _start(void);

int main(int argc, char **argv)
{
	printf("argc %d\n", argc);
	for (int i = 0; i <= argc; i++)
		printf("argv[%d] = %s\n", i, argv[i] ? argv[i] : "(null)");
	for (char **e = environ; *e; e++)
		printf("env %s\n", *e);
	printf("page %lu phent %lu secure %lu uid %lu\n", getauxval(AT_PAGESZ), getauxval(AT_PHENT),
		getauxval(AT_SECURE), getauxval(AT_UID));
	printf("entry %d\n", getauxval(AT_ENTRY) == (unsigned long)_start);
	printf("phdr type %u of %lu\n", ((Elf64_Phdr *)getauxval(AT_PHDR))->p_type, getauxval(AT_PHNUM));
	printf("execfn %s\n", (char *)getauxval(AT_EXECFN));
	printf("random %d\n", getauxval(AT_RANDOM) != 0);
	printf("clktck %lu %ld\n", getauxval(AT_CLKTCK), sysconf(_SC_CLK_TCK));
	printf("stack aligned %lu\n", (unsigned long)argv % 8);
	setenv("NEW", "value", 1);
	unsetenv("COLOUR");
	printf("%s %s\n", getenv("NEW"), getenv("COLOUR") ? "still there" : "gone");
	return argc;
}
