/* Touch the stack page by page, downwards: one growth for every 128 KiB. */
#include "env.h"

enum { PAGES = 256 };

int main(int argc, char **argv, char **envp)
{
	unsigned long here = (unsigned long)__builtin_frame_address(0) & -PAGE;
	unsigned long top = usrstack(), low = here - PAGES * PAGE;
	int intact = 1;

	(void)argc, (void)argv, (void)envp;
	catch_faults();
	for (unsigned long p = here - 2 * PAGE; p >= low; p -= PAGE)
		*(volatile unsigned long *)p = p;
	for (unsigned long p = low; p <= here - 2 * PAGE; p += PAGE)
		intact &= *(volatile unsigned long *)p == p;
	show("end of the stack", top);
	show("lowest page touched", low);
	check("every page kept its mark", intact);
	check("the rest of the last step is there too", can_read((void *)(top - 9 * SGROWSIZ)));
	check("growth steps are counted from the end", (top - low) / SGROWSIZ == 8);
	return 0;
}
