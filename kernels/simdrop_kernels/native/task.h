/* What the Python glue asks of the kernels: one struct, and the functions that each instruction set offers. */
#ifndef SIMDROP_TASK_H
#define SIMDROP_TASK_H

#include <stdint.h>

#include "activation.h"
#include "path_task.h"

/* What can be asked for by its number, and what Python calls it: the module hands these names on. */
#define SIMDROP_MASKS(X) X(STEP, step) X(SAMPLE, sample)
#define SIMDROP_OBJECTIVES(X) X(DROPOUT, dropout) X(RISK, risk) X(RISK_R1, risk+r1)
#define SIMDROP_LOSSES(X) X(SQUARED, squared) X(LOGISTIC, logistic) X(SOFTMAX, softmax) X(SQUARED_SOFTMAX, squared-softmax)
#define SIMDROP_PLACES(X) X(BOTH, both) X(FORWARD, forward) X(UPDATE, update) X(INDEPENDENT, independent)
#define SIMDROP_OPTIMIZERS(X) X(SGD, sgd) X(MOMENTUM, momentum) X(NESTEROV, nesterov) X(ADAM, adam)
/* What is in the lanes of a vector while members are trained: neurons of one member, or members. */
#define SIMDROP_LAYOUTS(X) X(NEURONS, neurons) X(MEMBERS, members)

#define ACT(NUMBER, name) ACT_##NUMBER,
#define MASK(NUMBER, name) MASK_##NUMBER,
#define OBJECTIVE(NUMBER, name) OBJECTIVE_##NUMBER,
#define OPTIMIZER(NUMBER, name) OPTIMIZER_##NUMBER,
#define LAYOUT(NUMBER, name) LAYOUT_##NUMBER,
#define LOSS(NUMBER, name) LOSS_##NUMBER,
#define PLACE(NUMBER, name) PLACE_##NUMBER,
enum { SIMDROP_ACTIVATIONS(ACT) ACTS };
enum { SIMDROP_MASKS(MASK) MASKS };
enum { SIMDROP_OBJECTIVES(OBJECTIVE) OBJECTIVES };
enum { SIMDROP_OPTIMIZERS(OPTIMIZER) OPTIMIZERS };
enum { SIMDROP_LAYOUTS(LAYOUT) LAYOUTS };
enum { SIMDROP_LOSSES(LOSS) LOSSES };
enum { SIMDROP_PLACES(PLACE) PLACES };
#undef ACT
#undef MASK
#undef OBJECTIVE
#undef OPTIMIZER
#undef LAYOUT
#undef LOSS
#undef PLACE

/* Vectors that an optimizer carries from step to step. */
static inline int moments_of(int optimizer) {
    return optimizer == OPTIMIZER_ADAM ? 2 : optimizer != OPTIMIZER_SGD ? 1 : 0;
}

/* n samples, D inputs, c outputs, m neurons, P = m (c + D); arrays in the dtype of the kernel, C-contiguous.
   The same field names as in contract/step.py, where each is explained. */
typedef struct {
    int activation, mask, objective, optimizer, loss, place;
    int minibatch, replace; /* whether samples are drawn at every step, and with replacement */
    int epochs;             /* whether every sample comes once in samples / batch steps */
    int decoupled;          /* whether weight decay multiplies theta, apart from the gradient */
    int64_t samples, inputs, outputs, width, batch; /* batch: samples of a step */
    double output_scale, momentum, beta1, beta2, epsilon, weight_decay;
    uint64_t seed;
    int64_t first_step, steps;
    int64_t members;
    int64_t rates;           /* 1, or steps where the learning rates change */
    const void *x;           /* (n, D) */
    const void *y;           /* (n, c) */
    void *theta;             /* (M, P) */
    void *moments;           /* (M, k, P) */
    const double *lr;        /* (M, rates) */
    const double *keep_prob; /* (M,) */
    const uint64_t *member;  /* (M,) */
    int64_t *diverged;       /* (M,) */
    void *out;               /* evaluate: (M, n, c) */
} simdrop_task;

/* Each function returns 0, or -1 where memory for its workspace cannot be had. */
typedef struct {
    const char *name;
    int (*advance[LAYOUTS][2])(const simdrop_task *); /* by dtype: float32, float64 */
    int (*evaluate[2])(const simdrop_task *);
    /* value and first derivative of an activation over an array, for tests */
    void (*activate[2])(int activation, int64_t count, const void *z, void *value, void *slope);
    int (*follow[2])(const simdrop_path_task *);
    int (*train_noisy[2])(const simdrop_path_task *);
} simdrop_kernels;

#endif
