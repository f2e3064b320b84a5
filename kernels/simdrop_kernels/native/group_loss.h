/* Residuals of the losses other than the squared one, for a group of members, per dtype. Legend as in group_space.h,
   formulas as in loss.h.

   The forward pass subtracts zeros in the place of targets and scales by 1, so that it leaves the outputs themselves. */

/* f (c,) becomes softmax(f). */
INLINE void N(softmax_group)(vec *f, int64_t outputs) {
    vec top = f[0], total = N(splat)(0);
    for (int64_t o = 1; o < outputs; o++) top = N(most)(top, f[o]);
    for (int64_t o = 0; o < outputs; o++) {
        f[o] = N(exp_below)(f[o] - top, N(splat)(0));
        total += f[o];
    }
    for (int64_t o = 0; o < outputs; o++) f[o] /= total;
}

/* Outputs (n, c) become residuals times everything that scales them. */
static void N(residuals_of_group)(int loss, const N(group) * g) {
    const int64_t c = g->outputs;
    for (int64_t i = 0; i < g->n; i++) {
        vec *f = (vec *)(void *)(g->e + i * c * VL), mean = N(splat)(0);
        if (loss == LOSS_LOGISTIC) {
            vec slope;
            N(act_sigmoid)(f[0], &f[0], &slope);
        } else {
            N(softmax_group)(f, c);
        }
        for (int64_t o = 0; o < c && loss == LOSS_SQUARED_SOFTMAX; o++) {
            mean += f[o] * (f[o] - N(of_sample)(g->shared, g->targets, i * c + o));
        }
        for (int64_t o = 0; o < c; o++) {
            const vec away = f[o] - N(of_sample)(g->shared, g->targets, i * c + o);
            f[o] = (loss == LOSS_SQUARED_SOFTMAX ? f[o] * (away - mean) : away) * g->share;
        }
    }
}
