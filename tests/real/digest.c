/* SHA-256 and a word count of standard input, for both kernels, on the guests' headers and no libc. */
#include "guest.h"

typedef unsigned int word;

static word state[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
static word k[64];

/* The constants are the cube roots of the first 64 primes: found here by bisection, not by table. */
static void make_constants(void)
{
	for (word n = 2, found = 0; found < 64; n++) {
		int prime = 1;

		for (word d = 2; d * d <= n; d++)
			prime &= n % d != 0;
		if (!prime)
			continue;
		unsigned __int128 low = 0, high = (unsigned __int128)8 << 32;

		while (high - low > 1) {
			unsigned __int128 mid = (low + high) / 2;

			if (mid * mid * mid >> 96 < n)
				low = mid;
			else
				high = mid;
		}
		k[found++] = (word)low;
	}
}

static inline word turn(word x, int n) { return x >> n | x << (32 - n); }

static void block(const unsigned char *p)
{
	word w[64], v[8];

	for (int i = 0; i < 16; i++)
		w[i] = (word)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3)
			+ (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
	for (int i = 0; i < 8; i++)
		v[i] = state[i];
	for (int i = 0; i < 64; i++) {
		word t = v[7] + (turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
		word u = (turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

		for (int j = 7; j; j--)
			v[j] = v[j - 1];
		v[4] += t;
		v[0] = t + u;
	}
	for (int i = 0; i < 8; i++)
		state[i] += v[i];
}

int main(int argc, char **argv, char **envp)
{
	static unsigned char input[1 << 20];
	unsigned long n = 0, words = 0, end;
	long got;

	(void)argc, (void)argv, (void)envp;
	while ((got = sys_read(0, input + n, sizeof input - 128 - n)) > 0)
		n += got;
	for (unsigned long i = 0; i < n; i++)
		words += input[i] > ' ' && (i == 0 || input[i - 1] <= ' ');
	make_constants();
	end = (n + 9 + 63) & -64UL;
	input[n] = 0x80;
	for (int i = 0; i < 8; i++)
		input[end - 1 - i] = (unsigned char)(n * 8 >> 8 * i);
	for (unsigned long i = 0; i < end; i += 64)
		block(input + i);
	for (int i = 0; i < 8; i++)
		put_number((unsigned long)state[i] | 1UL << 32, 16), put("\n");
	show("bytes", n);
	show("words", words);
	return (int)(words & 127);
}
