/* Members in the lanes of a vector, per dtype: the workspace, and the members' way into it and out again.

   For small networks, whose neurons fill no vector: a group is VL members of one call side by side, and everything
   that is computed of one of them is computed of all at once, without a sum over lanes and without a branch.

   Legend: n samples of a step, D inputs, c outputs, m neurons, R = c + D parameters of a neuron, each a vector.
   theta and the moments: parameter r of neuron j at (j R + r) VL, the outputs' first. h: sample i of neuron j at
   (j n + i) VL. e: output o of sample i at (i c + o) VL. Samples of a minibatch are another for every member: input k
   of sample i at (i D + k) VL; those that all members share are numbers, as in the task.

   A lane without a member has parameters and a learning rate of 0: what is computed in it is finite and goes nowhere.
   A member that diverges leaves its lane with the step's parameters, and the lane is such a one from then on. */

/* Which lanes keep a neuron: bits where the processor has registers for them, else all bits or none of each lane. */
#if defined(SIMDROP_AVX512)
typedef N(bitmask) N(kept);
#else
typedef ivec N(kept);
#endif

enum { N(HALVES) = VL / U64_LANES }; /* vectors of 64-bit lanes that hold a word of every member */
/* blocks of Philox drawn side by side: as many as the registers hold */
#if defined(SIMDROP_AVX512)
enum { N(BLOCKS) = 4 / N(HALVES) };
#else
enum { N(BLOCKS) = 2 / N(HALVES) };
#endif
/* steps whose masks are drawn at a time, so that the rounds of one block need not wait for each other */
#define GROUP_AHEAD 8

/* What the members of a group share of the first rounds of Philox for a block of a mask: see group_draws.h. */
typedef struct {
    int64_t block;
    uint64_t first, second, third, fourth;
} N(mask_place);

typedef struct {
    int64_t n, inputs, outputs, width, rows, params;
    int64_t blocks; /* of Philox, four neurons each, of one mask */
    int bias;       /* whether the last input is 1 for all samples */
    int draws;      /* whether any neuron can be dropped */
    int by_sample;  /* one mask for each sample */
    int shared;     /* whether all members see the same samples */
    int plain;      /* whether a step is theta -= lr g and nothing else */
    int kept_moments;
    int64_t at[VL]; /* the members of the lanes, by their places in the task */
    uint32_t alive; /* bits of the lanes that have a member */
    vec lr, gain, scale, r1; /* gain: what multiplies the outputs' sums; scale: what multiplies residuals */
    vec share;               /* the same, of losses other than the squared one: see group_loss.h */
    vec unbias[2];           /* Adam's corrections at this step */
    int alike;               /* whether all members draw by the same key */
    u64v member[2], key0[PHILOX_ROUNDS][2], last_key0;
    uint64_t key1[PHILOX_ROUNDS];
#if REAL_IS_FLOAT
    u32v threshold; /* a neuron is kept where its word is at most this */
#else
    u64v threshold;
#endif
    REAL *theta, *moment[2]; /* (m, R) vectors */
    REAL *h, *slope;         /* (m, n) vectors */
    REAL *g;                 /* n vectors: of one neuron, the derivatives by w·x */
    REAL *e;                 /* (n, c) vectors */
    REAL *x_lanes, *y_lanes; /* (n, D) and (n, c) vectors of a minibatch */
    const REAL *x, *y;       /* the samples of a step: those, or the task's */
    const REAL *targets;     /* y, where another loss than the squared one has zeros in its place */
    REAL *zeros;
    N(kept) *kept;           /* (masks, 4 blocks) */
    N(mask_place) *places;   /* (masks, blocks) */
    u64v *early;             /* (blocks, HALVES, 2) */
    u64v *other, *held;      /* (n, HALVES) of the shuffles that minibatches are drawn by */
    void *memory;
} N(group);

static size_t N(lay_out_group)(N(group) * g, const simdrop_task *t, char *base) {
    size_t used = 0;
    const int64_t state = g->params * VL, masks = g->by_sample ? g->n : GROUP_AHEAD;
    const int64_t drawn = t->minibatch ? g->n : 0;
#define CARVE(field, count) g->field = N(carve)(base, &used, count, sizeof *g->field)
    CARVE(theta, state);
    CARVE(moment[0], g->kept_moments > 0 ? state : 0);
    CARVE(moment[1], g->kept_moments > 1 ? state : 0);
    CARVE(h, g->width * g->n * VL);
    CARVE(slope, N(keeps_slope)(t->activation) ? g->width * g->n * VL : 0);
    CARVE(g, g->n * VL);
    CARVE(e, g->n * g->outputs * VL);
    CARVE(x_lanes, drawn * g->inputs * VL);
    CARVE(y_lanes, drawn * g->outputs * VL);
    CARVE(zeros, t->loss == LOSS_SQUARED ? 0 : g->n * g->outputs * (g->shared ? 1 : VL));
    CARVE(kept, masks * 4 * g->blocks);
    CARVE(places, masks * g->blocks);
    CARVE(early, g->blocks * N(HALVES) * 2);
    CARVE(other, drawn * N(HALVES));
    CARVE(held, drawn * N(HALVES));
#undef CARVE
    return used;
}

/* Returns 0, or -1 where there is no memory. */
static int N(open_group)(N(group) * g, const simdrop_task *t) {
    memset(g, 0, sizeof *g);
    g->n = t->batch;
    g->inputs = t->inputs;
    g->outputs = t->outputs;
    g->width = t->width;
    g->rows = t->inputs + t->outputs;
    g->params = g->rows * g->width;
    g->blocks = (t->width + 3) / 4;
    g->bias = N(has_bias)(t);
    g->by_sample = t->objective == OBJECTIVE_DROPOUT && t->mask == MASK_SAMPLE;
    g->shared = !t->minibatch;
    g->plain = t->optimizer == OPTIMIZER_SGD && t->weight_decay == 0;
    g->kept_moments = t->optimizer == OPTIMIZER_ADAM ? 2 : t->optimizer != OPTIMIZER_SGD ? 1 : 0;
    const size_t size = N(lay_out_group)(g, t, NULL);
    g->memory = malloc(size + 64);
    if (g->memory == NULL) return -1;
    memset(g->memory, 0, size + 64);
    N(lay_out_group)(g, t, (char *)(((uintptr_t)g->memory + 63) / 64 * 64));
    g->x = g->shared ? t->x : g->x_lanes;
    g->targets = g->shared ? t->y : g->y_lanes;
    g->y = t->loss == LOSS_SQUARED ? g->targets : g->zeros;
    return 0;
}

static void N(close_group)(N(group) * g) { free(g->memory); }

/* Between the flat layout of one member, a (c, m) then w (m, D), and lane l. */
INLINE void N(copy_lane)(const N(group) * g, int l, const int inward, REAL *flat, REAL *lanes) {
    const int64_t m = g->width, c = g->outputs, D = g->inputs;
    for (int64_t j = 0; j < m; j++) {
        REAL *lane = lanes + j * g->rows * VL + l;
        for (int64_t o = 0; o < c; o++, lane += VL) {
            if (inward) *lane = flat[o * m + j];
            else flat[o * m + j] = *lane;
        }
        REAL *w = flat + c * m + j * D;
        for (int64_t k = 0; k < D; k++, lane += VL) {
            if (inward) *lane = w[k];
            else w[k] = *lane;
        }
    }
}

/* Parameters and moments of the member of lane l, out of the task or back into it. */
static void N(copy_member)(const simdrop_task *t, const N(group) * g, int l, int inward) {
    REAL *theta = (REAL *)t->theta + g->at[l] * g->params;
    REAL *moments = (REAL *)t->moments + g->at[l] * g->kept_moments * g->params;
    if (inward) N(copy_lane)(g, l, 1, theta, g->theta);
    else N(copy_lane)(g, l, 0, theta, g->theta);
    for (int k = 0; k < g->kept_moments; k++, moments += g->params) {
        if (inward) N(copy_lane)(g, l, 1, moments, g->moment[k]);
        else N(copy_lane)(g, l, 0, moments, g->moment[k]);
    }
}

/* Lane l without a member. */
static void N(clear_lane)(N(group) * g, int l) {
    for (int64_t q = 0; q < g->params; q++) {
        g->theta[q * VL + l] = 0;
        for (int k = 0; k < g->kept_moments; k++) g->moment[k][q * VL + l] = 0;
    }
    g->lr[l] = 0;
    g->alive &= ~(UINT32_C(1) << l);
}

/* Member `number` of the task in lane l. */
static void N(enter_lane)(const simdrop_task *t, N(group) * g, int l, int64_t number) {
    const N(member) one = N(member_of)(t, number);
    const REAL gain = (REAL)t->output_scale * (t->objective == OBJECTIVE_DROPOUT ? one.inverse_keep : 1);
    const int half = l % N(HALVES), place = l / N(HALVES);
    g->at[l] = number;
    g->alive |= UINT32_C(1) << l;
    g->lr[l] = one.lr;
    g->gain[l] = gain;
    g->share[l] = gain / (REAL)g->n;
    g->scale[l] = t->loss == LOSS_SQUARED ? g->share[l] : 1;
    g->r1[l] = N(r1_of)(t, &one, g->n);
    g->threshold[l] = one.threshold;
    g->draws |= one.draws;
    g->member[half][place] = one.place.member;
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        g->key0[round][half][place] = one.place.key[round][0];
        g->key1[round] = one.place.key[round][1];
    }
    g->alike &= g->key0[0][half][place] == g->key0[0][0][0];
    N(copy_member)(t, g, l, 1);
}

/* The next members of the task, from `first` on, that have not diverged; returns the number behind the last. */
static int64_t N(enter_members)(const simdrop_task *t, N(group) * g, int64_t first) {
    g->draws = 0;
    g->alike = 1;
    for (int l = 0; l < VL; l++) {
        while (first < t->members && t->diverged[first] >= 0) first++;
        if (first < t->members) N(enter_lane)(t, g, l, first++);
        else N(clear_lane)(g, l);
    }
    return first;
}
