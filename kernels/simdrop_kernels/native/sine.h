/* Sine and cosine, per dtype. Arguments are brought to |r| <= π/4 by subtracting k π/2 in parts whose
   products with k < 2^20 are exact; in double for both dtypes. Lanes beyond that range ask the C library. */

#define SINE_END 1e6
#define HALF_PI_HIGH 1.57079632673412561417     /* 33 bits */
#define HALF_PI_MIDDLE 6.07710050630396597660e-11 /* 33 bits more */
#define HALF_PI_LOW 2.02226624879595063154e-21
#define HALF_PI_REST 6.07710050650619224932e-11 /* middle + low */
#define SINE_ROUND 6755399441055744.0           /* 1.5 * 2^52 */
#define TWO_OVER_PI 0.636619772367581343076

#if REAL_IS_FLOAT
typedef double N(wide) __attribute__((vector_size(2 * VBYTES)));
typedef int64_t N(iwide) __attribute__((vector_size(2 * VBYTES)));
#endif

INLINE void N(act_sin)(vec z, vec *h, vec *d) {
#if REAL_IS_FLOAT
    const N(wide) x = __builtin_convertvector(z, N(wide));
    const N(wide) shifted = x * TWO_OVER_PI + SINE_ROUND, whole = shifted - SINE_ROUND;
    const vec r = __builtin_convertvector((x - whole * HALF_PI_HIGH) - whole * HALF_PI_REST, vec);
    const ivec k = __builtin_convertvector((N(iwide))shifted & 3, ivec);
#else
    const vec shifted = z * TWO_OVER_PI + SINE_ROUND, whole = shifted - SINE_ROUND;
    const vec r = ((z - whole * HALF_PI_HIGH) - whole * HALF_PI_MIDDLE) - whole * HALF_PI_LOW;
    const ivec k = (ivec)shifted & 3;
#endif
    const vec u = r * r;
    const vec sine = r + r * u * POLYNOMIAL(sin_p, u);
    const vec cosine = (REAL)1 - (u * (REAL)0.5 - u * u * POLYNOMIAL(cos_p, u));
    const ivec odd = -(k & 1);
    const ivec sign = (ivec)N(splat)((REAL)-0.0);
    const ivec sine_negative = (ivec)(k > 1), cosine_negative = (ivec)(((k + 1) & 3) > 1);
    *h = (vec)((ivec)N(select)(odd, cosine, sine) ^ (sine_negative & sign));
    *d = (vec)((ivec)N(select)(odd, sine, cosine) ^ (cosine_negative & sign));
    const ivec beyond = (ivec)(N(magnitude)(z) > (REAL)SINE_END);
    LANE_INT any = 0;
    for (int l = 0; l < VL; l++) any |= beyond[l];
    if (__builtin_expect(any != 0, 0)) {
        for (int l = 0; l < VL; l++) {
            if (beyond[l]) {
                (*h)[l] = (REAL)sin((double)z[l]);
                (*d)[l] = (REAL)cos((double)z[l]);
            }
        }
    }
    *h = N(select)((ivec)(z == 0), z, *h); /* keeps the sign of zero */
}

#undef SINE_END
#undef HALF_PI_HIGH
#undef HALF_PI_MIDDLE
#undef HALF_PI_LOW
#undef HALF_PI_REST
#undef SINE_ROUND
#undef TWO_OVER_PI
