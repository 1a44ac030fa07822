/*
 * Logarithm and exponential as written sequences of IEEE-754 operations, after fdlibm's e_log.c and
 * e_exp.c (Sun Microsystems 1993, "freely granted"). The C library's versions may differ in the
 * last bit between processors, because they pick fused instructions at run time.
 */
#include <consilium/random.h>

#include <math.h>

static const double ln2_high = 6.93147180369123816490e-01; /* 32 bits: k * ln2_high is exact */
static const double ln2_low = 1.90821492927058770002e-10;

double csl_exact_log(double x)
{
    int exponent;
    double mantissa = frexp(x, &exponent);
    if (mantissa < 0.70710678118654752440) {
        mantissa *= 2.0;
        exponent--;
    }
    double f = mantissa - 1.0;
    double k = exponent;
    double s = f / (2.0 + f);
    double z = s * s;
    double w = z * z;
    double odd = z * (6.666666666666735130e-01 +
                      w * (2.857142874366239149e-01 +
                           w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    double even = w * (3.999999999940941908e-01 +
                       w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    double remainder = even + odd;
    double half_square = 0.5 * f * f;
    return k * ln2_high - ((half_square - (s * (half_square + remainder) + k * ln2_low)) - f);
}

double csl_exact_exp(double x)
{
    if (x > 709.782712893383973096) {
        return HUGE_VAL;
    }
    if (x < -745.13321910194110842) {
        return 0.0;
    }
    double k = floor(x * 1.44269504088896338700 + 0.5);
    double high = x - k * ln2_high;
    double low = k * ln2_low;
    double r = high - low;
    double t = r * r;
    double c =
        r - t * (1.66666666666666019037e-01 +
                 t * (-2.77777777770155933842e-03 +
                      t * (6.61375632143793436117e-05 +
                           t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))));
    double y = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    return ldexp(y, (int)k);
}
