/* What the Python glue asks of the kernels of stochastic equations. */
#ifndef SIMDROP_PATH_TASK_H
#define SIMDROP_PATH_TASK_H

#include <stdint.h>

/* `part` and `train` as contract/equation.py numbers them */
enum { PART_BOTH, PART_DRIFT, PART_NOISE, PART_COUNT };
enum { TRAIN_BOTH, TRAIN_OUTPUT, TRAIN_INPUT, TRAIN_COUNT };

/* Columns of `numbers`, a row for each path: `Noises` of contract/equation.py, and the sign of a path's noise. */
enum {
    FACTOR_SINGLE, FACTOR_PAIR, FACTOR_ERROR, FACTOR_OWN, FACTOR_SQUARE, FACTOR_LABEL, FACTOR_LABEL_FACTOR,
    FACTOR_VARIANCE, FACTOR_SIGN, FACTORS
};

/* Columns of `stages`: `Stage` of contract/equation.py. */
enum { STAGE_AHEAD, STAGE_WEIGHT, STAGE_NOISE, STAGE_FIELDS };

/* n samples, D inputs, c outputs, m neurons, P = m (c + D); theta, x and y in the dtype of the kernel. */
typedef struct {
    int activation, mask, order, by_masks, train, part, gaussian, replace;
    int64_t samples, inputs, outputs, width, members;
    int64_t masks, batch; /* k masks a step; samples of a minibatch, 0: all */
    double output_scale, batch_factor, repeat, label, parameter; /* batch_factor and repeat: c and √(n/B) of `Noises` */
    int64_t joined;          /* a step's normal numbers are the sums of those of so many steps, over √joined */
    uint64_t seed;
    int64_t first_step, steps, stage_count;
    const void *x, *y;       /* (n, D), (n, c) */
    void *theta;             /* (M, P) */
    const double *lr;        /* (M, rates) */
    const double *keep_prob; /* (M,) */
    const uint64_t *member;  /* (M,) by which numbers are drawn */
    const double *numbers;   /* (M, FACTORS) */
    int64_t *diverged;       /* (M,) */
    const double *sizes;     /* (steps,) */
    const double *stages;    /* (stage_count, STAGE_FIELDS) */
    /* of training under noise, which has no numbers, sizes and stages */
    int64_t rates;           /* learning rates of a path: 1, or steps where they change */
    double weight_decay;
    int decoupled;           /* whether weight decay multiplies theta, apart from the gradient */
    int optimizer, draws;    /* draws of all noise that a step takes, */
    double weights[2];       /* and what multiplies their gradients */
    double momentum, beta1, beta2, epsilon;
    void *moments;           /* (M, k, P) */
} simdrop_path_task;

#endif
