/* Timers stop the program all the time: what is in memory and what is in registers stay together. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

static volatile sig_atomic_t signals;
static unsigned long counter[8] __attribute__((aligned(64)));
static double number;

static void on_alarm(int number)
{
    (void)number;
    signals++;
}

static void start(void)
{
    struct itimerval often = {{0, 10000}, {0, 10000}};
    signals = 0;
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &often, NULL);
}

static void stop(void)
{
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
}

static void increments(int wanted)
{
    unsigned long rounds = 0, one, sum = 0;
    start();
    while (signals < wanted) {
        one = 1;
        __asm__ volatile("incq %1\n\tincq %0" : "+r"(rounds), "+m"(counter[0]));
        __asm__ volatile("lock xaddq %0, %1" : "+r"(one), "+m"(counter[1]));
        __asm__ volatile("pushq %1\n\tpopq %0" : "=m"(counter[2]) : "r"(rounds));
        __asm__ volatile("xchgq %0, %1" : "+r"(one), "+m"(counter[3]));
        sum += one - counter[3];
        __asm__ volatile("fldl %0\n\tfld1\n\tfaddp\n\tfstpl %0" : "+m"(number));
    }
    stop();
    printf("%d signals: ", wanted);
    printf("inc %ld, xadd %ld, push %ld, xchg %ld, x87 %g\n", (long)(counter[0] - rounds),
           (long)(counter[1] - rounds), (long)(counter[2] - rounds), (long)(sum + counter[3]),
           number - (double)rounds);
}

int main(void)
{
    increments(60);
    return 0;
}
