/* The workspace of one call, per dtype: everything a member needs while it is trained.

   Legend: n samples of a step, D inputs, c outputs, m neurons, R = c + D parameters of a neuron.
   theta as a kernel holds it has R rows of `row` numbers: row r < c is a_r, row c + k is input weight k,
   neuron j at place j; lanes past the width are 0. h has panels of VL neurons: sample i of panel v at
   (v * depth + i) * VL. */

typedef struct {
    int64_t n, inputs, outputs, width, rows, row, depth, words;
    int bias;      /* whether the last input is 1 for all samples */
    REAL *theta;   /* (R, row) */
    REAL *packed;  /* (R, row): the kept neurons of a step */
    REAL *grad;    /* (R + 3, row): of the neurons that were computed */
    REAL *spread;  /* (R, row): of all neurons */
    REAL *moment[2];
    REAL *h, *slope; /* panels (v, depth, VL) */
    REAL *sums;      /* a vector per sample and output */
    REAL *f, *e;     /* (n, c), zeros up to a whole vector */
    REAL *x, *y;     /* (n, D), (n, c) of the step; y with zeros up to a whole vector */
    REAL *x_rows, *x_columns, *panel; /* what gemm.h multiplies */
    uint32_t *bits;    /* masks: one of `words` words, or one per sample */
    int32_t *index;    /* numbers of the kept neurons; not with AVX-512 */
    uint32_t *batch_words; /* that a minibatch is drawn by */
    int64_t *order, *swapped, *chosen;
    void *memory;
} N(space);

/* The next `count` elements of `size` bytes of the block that starts at base, on a cache line of their own. */
INLINE void *N(carve)(char *base, size_t *used, int64_t count, size_t size) {
    void *place = base ? base + *used : NULL;
    *used += ((size_t)count * size + 63) / 64 * 64;
    return place;
}

INLINE int64_t N(round_up)(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

static size_t N(lay_out)(N(space) * s, const simdrop_task *t, char *base) {
    size_t used = 0;
    const int64_t all = s->rows * s->row, vectors = N(round_up)(s->width, VL) / VL;
    const int64_t results = N(round_up)(s->n * s->outputs, VL);
    const int64_t masks = t->mask == MASK_SAMPLE || t->objective != OBJECTIVE_DROPOUT ? s->n : 1;
#define CARVE(field, count) s->field = N(carve)(base, &used, count, sizeof *s->field)
    CARVE(theta, all);
    CARVE(packed, all);
    CARVE(grad, all + 3 * s->row);
    CARVE(spread, t->optimizer == OPTIMIZER_SGD && t->weight_decay == 0 ? 0 : all);
    CARVE(moment[0], t->optimizer == OPTIMIZER_SGD ? 0 : all);
    CARVE(moment[1], t->optimizer == OPTIMIZER_ADAM ? all : 0);
    CARVE(h, vectors * s->depth * VL);
    CARVE(slope, vectors * s->depth * VL);
    CARVE(sums, results * VL);
    CARVE(f, results);
    CARVE(e, results);
    CARVE(x, s->n * s->inputs);
    CARVE(y, results);
    CARVE(x_rows, s->depth * s->inputs);
    CARVE(x_columns, (s->inputs + 3) / 4 * 4 * s->n);
    CARVE(panel, s->inputs * 2 * VL);
    CARVE(bits, (masks > 1 ? masks : s->n) * s->words);
    CARVE(index, s->words * 32);
    CARVE(batch_words, N(round_up)(s->n, 4));
    CARVE(order, t->samples);
    CARVE(swapped, s->n);
    CARVE(chosen, s->n);
#undef CARVE
    return used;
}

/* Returns 0, or -1 where there is no memory. `n` is the number of samples handled at a time. */
static int N(open_space)(N(space) * s, const simdrop_task *t, int64_t n) {
    memset(s, 0, sizeof *s);
    s->n = n;
    s->inputs = t->inputs;
    s->outputs = t->outputs;
    s->width = t->width;
    s->rows = t->inputs + t->outputs;
    s->row = N(round_up)(t->width, VL) + VL; /* unaligned stores of whole vectors reach past the width */
    s->depth = N(round_up)(n, 4);
    s->words = (t->width + 31) / 32;
    const size_t size = N(lay_out)(s, t, NULL);
    s->memory = malloc(size + 64);
    if (s->memory == NULL) return -1;
    memset(s->memory, 0, size + 64);
    N(lay_out)(s, t, (char *)(((uintptr_t)s->memory + 63) / 64 * 64));
    for (int64_t i = 0; i < t->samples; i++) s->order[i] = i;
    return 0;
}

static void N(close_space)(N(space) * s) { free(s->memory); }

/* From theta's flat layout, a (c, m) then w (m, D), to rows of neurons. */
static void N(load_rows)(const N(space) * s, const REAL *flat, REAL *rows) {
    const int64_t m = s->width, D = s->inputs;
    const REAL *w = flat + s->outputs * m;
    for (int64_t r = 0; r < s->outputs; r++) memcpy(rows + r * s->row, flat + r * m, (size_t)m * sizeof(REAL));
    rows += s->outputs * s->row;
    for (int64_t j0 = 0; j0 < m; j0 += 16) { /* 16 neurons at a time: whole cache lines on both sides */
        const int64_t j1 = j0 + 16 < m ? j0 + 16 : m;
        for (int64_t k = 0; k < D; k++) {
            for (int64_t j = j0; j < j1; j++) rows[k * s->row + j] = w[j * D + k];
        }
    }
}

/* The inverse of load_rows. */
static void N(store_rows)(const N(space) * s, const REAL *rows, REAL *flat) {
    const int64_t m = s->width, D = s->inputs;
    REAL *w = flat + s->outputs * m;
    for (int64_t r = 0; r < s->outputs; r++) memcpy(flat + r * m, rows + r * s->row, (size_t)m * sizeof(REAL));
    rows += s->outputs * s->row;
    for (int64_t j0 = 0; j0 < m; j0 += 16) {
        const int64_t j1 = j0 + 16 < m ? j0 + 16 : m;
        for (int64_t k = 0; k < D; k++) {
            for (int64_t j = j0; j < j1; j++) w[j * D + k] = rows[k * s->row + j];
        }
    }
}
