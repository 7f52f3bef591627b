/* Data is not code: a jump into it is an ACCERR at the target, until mprotect allows it. */
#include "fault.h"

static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */
static int answer;

static void jump(void *to) { answer = ((int (*)(void))to)(); }

static void copy_code(unsigned char *to, unsigned char value)
{
	for (unsigned i = 0; i < sizeof code; i++)
		to[i] = code[i];
	to[1] = value;
}

int main(int argc, char **argv, char **envp)
{
	unsigned char *page = sys_mmap(0, PAGE, PROT_RW, MAP_ANON | MAP_PRIVATE, -1, 0);
	unsigned char on_stack[sizeof code];

	(void)argc, (void)argv, (void)envp;
	catch_faults();
	copy_code(page, 42);
	copy_code(on_stack, 42);
	check("a jump to an anonymous page", !attempt(jump, page) && was(SIGSEGV, SEGV_ACCERR, page));
	check("a jump to the stack", !attempt(jump, on_stack) && was(SIGSEGV, SEGV_ACCERR, on_stack));
	check("a jump to read-only data", !attempt(jump, (void *)code) && was(SIGSEGV, SEGV_ACCERR, code));
	check("a jump to nowhere", !attempt(jump, (void *)0x1234) && was(SIGSEGV, SEGV_MAPERR, (void *)0x1234));
	check("mprotect makes it code", sys_mprotect(page, PAGE, PROT_READ | PROT_EXEC) == 0);
	check("which runs", attempt(jump, page) && answer == 42);
	check("and cannot be written", !can_write(page));
	check("it becomes data again", sys_mprotect(page, PAGE, PROT_RW) == 0);
	copy_code(page, 43);
	check("and is not code", !attempt(jump, page));
	check("writable code is possible", sys_mprotect(page, PAGE, PROT_RW | PROT_EXEC) == 0);
	check("the new code runs, not the old", attempt(jump, page) && answer == 43);
	copy_code(page, 44);
	check("code may change under its feet", attempt(jump, page) && answer == 44);
	return 0;
}
