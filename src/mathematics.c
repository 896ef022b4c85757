/*
 * exp and pow, for the two places of the DNS resolver and its runtime that weigh how quick a server was.
 *
 * With these two, libm is not loaded: it would cost every start of `sendmail` eleven system calls and 600 KiB, for
 * a number that no submission ever asks for. They are right to a dozen digits, and so good enough for a weight;
 * src/build.rs says when they are used; src/host/dns.rs tests them.
 */

#include <stdint.h>
#include <string.h>

static const double LN2_HIGH = 6.93147180369123816490e-01; /* its last 21 bits are zero: a multiple is exact */
static const double LN2_LOW = 1.90821492927058770002e-10;
static const double INFINITE = 1.0 / 0.0;

/* 2 to a power from -1022 to 1023: a double of that exponent and no fraction. */
static double power_of_two(int power)
{
	uint64_t bits = (uint64_t)(power + 1023) << 52;
	double x;
	memcpy(&x, &bits, sizeof x);
	return x;
}

/* x times 2 to any power, in steps that do not overflow before the result does. */
static double scale(double x, int power)
{
	for (; power > 1023; power -= 1023)
		x *= power_of_two(1023);
	for (; power < -1022; power += 969) /* 53 above the least, so that nothing is rounded twice */
		x *= power_of_two(-969);
	return x * power_of_two(power);
}

__attribute__((visibility("hidden"))) double exp(double x)
{
	if (x != x)
		return x;
	if (x > 709.8)
		return INFINITE;
	if (x < -745.2)
		return 0.0;
	int twos = (int)(x / (LN2_HIGH + LN2_LOW) + (x < 0 ? -0.5 : 0.5));
	double rest = (x - twos * LN2_HIGH) - twos * LN2_LOW;
	/* Taylor's series: the rest is at most half of ln 2, whose 18th power over 18! is below 1e-23. */
	double sum = 1.0;
	for (int n = 18; n > 0; n--)
		sum = 1.0 + sum * rest / n;
	return scale(sum, twos);
}

/* The natural logarithm of a number above zero. */
static double logarithm(double x)
{
	int twos = 0;
	if (x < power_of_two(-1022)) { /* a number with leading zeros */
		x *= power_of_two(54);
		twos = -54;
	}
	uint64_t bits;
	memcpy(&bits, &x, sizeof bits);
	twos += (int)(bits >> 52) - 1023;
	double part;
	bits = (bits & 0xfffffffffffff) | (uint64_t)1023 << 52; /* the same fraction, from 1 to 2 */
	memcpy(&part, &bits, sizeof part);
	if (part > 1.41421356237309504880) {
		part /= 2;
		twos++;
	}
	/* ln part = 2 artanh z, and z is at most 0.172, so that its 31st power is below 1e-23. */
	double z = (part - 1) / (part + 1), square = z * z, sum = 0.0;
	for (int n = 29; n > 0; n -= 2)
		sum = sum * square + 1.0 / n;
	return twos * LN2_HIGH + (2 * z * sum + twos * LN2_LOW);
}

__attribute__((visibility("hidden"))) double pow(double x, double y)
{
	if (y == 0.0 || x == 1.0)
		return 1.0;
	if (x != x || y != y)
		return x + y;
	if (x == 0.0)
		return y > 0 ? 0.0 : INFINITE;
	if (x > 0)
		return x == INFINITE ? (y > 0 ? x : 0.0) : exp(y * logarithm(x));
	/* Beyond 2^53 every number is even. */
	int whole = y > 9e15 || y < -9e15 || (double)(long long)y == y;
	int odd = y < 9e15 && y > -9e15 && ((long long)y & 1);
	if (!whole)
		return (x - x) / (x - x);
	return odd ? -exp(y * logarithm(-x)) : exp(y * logarithm(-x));
}
