/* execve of itself: arguments and environment arrive, descriptors stay, close-on-exec ones go. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char *next[] = { argv[0], "second", "a b", "", NULL }, *env[] = { "ONLY=this", NULL };
	static char big[5000];

	if (argc > 1) {
		printf("%d %s|%s|%s| %s %s\n", argc, argv[1], argv[2], argv[3], getenv("ONLY"), getenv("PATH") ? "PATH" : "no PATH");
		printf("kept %d closed %d zero %d\n", fcntl(20, F_GETFD), fcntl(21, F_GETFD), big[4999]);
		return 7;
	}
	memset(big, 'x', sizeof big);
	dup2(1, 20);
	dup2(1, 21);
	fcntl(21, F_SETFD, FD_CLOEXEC);
	execve("/nonexistent", next, env);
	printf("first: %s\n", strerror(errno));
	execve("/", next, env);
	printf("directory: %s\n", strerror(errno));
	fflush(stdout);
	execve(argv[0], next, env);
	return 1;
}
