/* Standard input to standard output: numbered, reversed, counted; the count is the status. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int count = 0;

	while ((n = getline(&line, &room, stdin)) > 0) {
		if (line[n - 1] == '\n')
			line[--n] = 0;
		printf("%4d ", ++count);
		while (n--)
			putchar(line[n]);
		putchar('\n');
	}
	free(line);
	fprintf(stderr, "%d lines\n", count);
	return count;
}
