/* Residuals of the losses other than the squared one, sample by sample; per dtype. Their formulas:
   kernels/mathematics/losses. Exponentials are of double precision, few as they are next to the activations'. */

/* f becomes 1 / (1 + exp -f) - y; the exponential is the one that does not overflow. */
INLINE void N(logistic_residual)(REAL *f, const REAL *y) {
    const double small = exp(-fabs((double)*f));
    *f = (REAL)((*f >= 0 ? 1 : small) / (1 + small)) - *y;
}

/* f (c,) becomes softmax(f). */
INLINE void N(softmax)(REAL *f, int64_t outputs) {
    REAL top = f[0];
    for (int64_t o = 1; o < outputs; o++) top = top > f[o] ? top : f[o];
    double total = 0;
    for (int64_t o = 0; o < outputs; o++) total += exp((double)(f[o] - top));
    for (int64_t o = 0; o < outputs; o++) f[o] = (REAL)(exp((double)(f[o] - top)) / total);
}

/* f (c,) becomes softmax(f) - y. */
INLINE void N(softmax_residual)(REAL *f, const REAL *y, int64_t outputs) {
    N(softmax)(f, outputs);
    for (int64_t o = 0; o < outputs; o++) f[o] -= y[o];
}

/* f (c,) becomes s_o (s_o - y_o - s·(s - y)) with s = softmax(f). */
INLINE void N(squared_softmax_residual)(REAL *f, const REAL *y, int64_t outputs) {
    N(softmax)(f, outputs);
    REAL mean = 0;
    for (int64_t o = 0; o < outputs; o++) mean += f[o] * (f[o] - y[o]);
    for (int64_t o = 0; o < outputs; o++) f[o] *= f[o] - y[o] - mean;
}

/* e (n, c) becomes residuals times `scale` of the outputs that it holds. */
static void N(residuals_of)(int loss, N(space) * s, REAL scale) {
    for (int64_t i = 0; i < s->n; i++) {
        REAL *e = s->e + i * s->outputs;
        const REAL *y = s->y + i * s->outputs;
        if (loss == LOSS_LOGISTIC) N(logistic_residual)(e, y);
        else if (loss == LOSS_SOFTMAX) N(softmax_residual)(e, y, s->outputs);
        else N(squared_softmax_residual)(e, y, s->outputs);
        for (int64_t o = 0; o < s->outputs; o++) e[o] *= scale;
    }
}
