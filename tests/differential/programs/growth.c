/* Raise RLIMIT_STACK, run a deeper recursion than the old limit allowed, and check every frame. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static int descend(int depth)
{
	volatile char frame[4000];

	memset((char *)frame, depth, sizeof frame);
	if (depth == 0)
		return 1;
	return descend(depth - 1) && frame[0] == (char)depth && frame[3999] == (char)depth;
}

int main(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_STACK, &limit);
	printf("soft %lu KiB\n", (unsigned long)limit.rlim_cur >> 10);
	printf("1000 deep: %d\n", descend(1000));
	limit.rlim_cur = 48 << 20;
	printf("setrlimit %d\n", setrlimit(RLIMIT_STACK, &limit));
	getrlimit(RLIMIT_STACK, &limit);
	printf("soft %lu KiB\n", (unsigned long)limit.rlim_cur >> 10);
	printf("8000 deep: %d\n", descend(8000));
	return 0;
}
