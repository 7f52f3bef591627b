/* Floating point through printf and strtod: rounding, denormals, long double, control words; not the
 * exception flags, which Unicorn does not keep. */
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
	volatile double tenth = 0.1, third = 1.0 / 3, big = 1e308, tiny = 5e-324, zero = 0;
	volatile long double ltenth = 0.1L;
	double sum = 0;

	printf("%.17g %.17g %.17g %.17g\n", tenth, third, big * 10, tiny);
	printf("%a %a %.20Lf %La\n", tenth, tiny / 2, ltenth, ltenth * 3);
	printf("%f %e %g %+.3f|%10.2f|%-10.2f|\n", 3.14159265358979, 1e-300, 1e21, -0.0005, third, third);
	printf("%g %g %g\n", 1 / zero, -1 / zero, zero / zero < 0 ? 1.0 : 2.0);
	for (int i = 1; i <= 100000; i++)
		sum += 1.0 / i / i;
	printf("%.17g %.17g\n", sum, sqrt(sum * 6));
	printf("%.17g %.17g\n", strtod("1.7976931348623157e308", 0), strtod("3.3250738585072011e-300", 0));
	for (int mode = 0; mode < 4; mode++) {
		static const int modes[] = { FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO };
		fesetround(modes[mode]);
		volatile double x = 1, y = 3;
		volatile float f = 1.0f / (float)y;
		volatile long double z = 1.0L / y;
		printf("%d: %.17g %.9g %.20Lg %ld %d\n", mode, x / y, f, z, lrint(2.5), (int)(float)16777217.0);
	}
	fesetround(FE_TONEAREST);
	printf("%.10g %.10g %.10g %.10g\n", sin(1.0), exp(1.0), pow(2, 0.5), log(10));
	printf("%.6Lg %.10g %d\n", LDBL_EPSILON, ldexp(1.5, -1060), isnan(zero / zero));
	return 0;
}
