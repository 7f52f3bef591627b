/* Walk a list one element too far: the field of a null structure. */
#include "crash.h"

struct item {
	struct item *next;
	const char *name;
	long count;
	volatile int weight; /* at 0x18 */
};

static struct item second = { 0, "second", 1, 4 }, first = { &second, "first", 1, 3 };

static NOINLINE int weigh(struct item *item)
{
	int sum = 0;

	for (int i = 0; i < 3; i++, item = OPAQUE(item->next))
		sum += item->weight;
	return sum;
}

int main(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
	announce(&((struct item *)0)->weight);
	show("weight", weigh(&first));
	return 0;
}
