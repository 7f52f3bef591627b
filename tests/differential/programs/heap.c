/* malloc under stress: sizes from 1 byte to 2 MiB, realloc, calloc, every block checked. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 300, ROUNDS = 12000 };

static struct { unsigned char *p; size_t n; unsigned char mark; } slot[SLOTS];
static uint32_t seed = 1;

static uint32_t next(void) { return seed = seed * 1664525 + 1013904223; }

static void verify(int i)
{
	for (size_t k = 0; k < slot[i].n; k += slot[i].n / 7 + 1)
		if (slot[i].p[k] != slot[i].mark) {
			printf("slot %d byte %zu is wrong\n", i, k);
			exit(1);
		}
}

int main(void)
{
	unsigned long long bytes = 0;

	for (int round = 0; round < ROUNDS; round++) {
		int i = next() % SLOTS;
		size_t n = 1 + next() % (next() % 100 == 0 ? 2 << 20 : next() % 10 == 0 ? 65536 : 512);

		if (slot[i].p && next() % 3 == 0) {
			size_t keep = slot[i].n < n ? slot[i].n : n;
			verify(i);
			slot[i].p = realloc(slot[i].p, n);
			slot[i].n = keep;
			verify(i);
			slot[i].n = n;
			memset(slot[i].p, slot[i].mark, n);
			continue;
		}
		if (slot[i].p) {
			verify(i);
			free(slot[i].p);
		}
		slot[i].p = next() % 2 ? malloc(n) : calloc(n, 1);
		slot[i].n = n;
		slot[i].mark = (unsigned char)next();
		memset(slot[i].p, slot[i].mark, n);
		bytes += n;
	}
	for (int i = 0; i < SLOTS; i++)
		if (slot[i].p)
			verify(i), free(slot[i].p);
	printf("%llu bytes in %d rounds, all right\n", bytes, ROUNDS);
	return 0;
}
