/* The environment and the process stack, for guests that are told what to expect. */
#pragma once
#include "fault.h"

/* The value of an environment variable, or "". */
static inline const char *env(char **envp, const char *name)
{
	for (; *envp; envp++) {
		const char *p = *envp, *n = name;

		while (*n && *p == *n)
			p++, n++;
		if (!*n && *p == '=')
			return p + 1;
	}
	return "";
}

/* kern.usrstack: the end of the process stack. */
static inline unsigned long usrstack(void)
{
	int name[2] = { 1, 33 }; /* CTL_KERN, KERN_USRSTACK */
	unsigned long top = 0, size = sizeof top;

	CALL(SYS_sysctl, name, 2, &top, &size, 0, 0);
	return top;
}

static inline unsigned long stack_limit(void)
{
	struct rlimit limit;

	sys_getrlimit(RLIMIT_STACK, &limit);
	return limit.cur;
}

/* A refused growth is MAPERR on the classic releases, ACCERR since the gap is an entry. */
static inline int overflow_code(char **envp)
{
	return same(env(envp, "OVERFLOW"), "ACCERR") ? SEGV_ACCERR : SEGV_MAPERR;
}
