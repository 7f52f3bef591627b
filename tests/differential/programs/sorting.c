/* qsort and bsearch over numbers and strings, and a hash of what came out. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 20000 };

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int main(void)
{
	static uint32_t v[N];
	static char text[N][12], *p[N];
	uint64_t hash = 14695981039346656037u;
	uint32_t x = 12345, *found;

	for (int i = 0; i < N; i++) {
		v[i] = x = x * 1103515245 + 12345;
		snprintf(text[i], sizeof text[i], "%x", x ^ 0x5a5a5a5a);
		p[i] = text[i];
	}
	x = v[N / 2];
	qsort(v, N, sizeof *v, by_value);
	qsort(p, N, sizeof *p, by_text);
	for (int i = 0; i < N; i++) {
		hash = (hash ^ v[i]) * 1099511628211u;
		for (char *s = p[i]; *s; s++)
			hash = (hash ^ (unsigned char)*s) * 1099511628211u;
	}
	found = bsearch(&x, v, N, sizeof *v, by_value);
	printf("%u %u %s %s %016llx %ld\n", v[0], v[N - 1], p[0], p[N - 1], (unsigned long long)hash, found - v > 0 ? 1L : 0L);
	return 0;
}
