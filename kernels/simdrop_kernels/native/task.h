/* What the Python glue asks of the kernels: one struct, and the functions that each instruction set offers. */
#ifndef SIMDROP_TASK_H
#define SIMDROP_TASK_H

#include <stdint.h>

enum { ACT_TANH, ACT_RELU, ACT_SIGMOID, ACT_SOFTPLUS, ACT_GELU, ACT_ERF, ACT_SIN, ACT_LINEAR, ACT_QUADRATIC, ACTS };
enum { MASK_STEP, MASK_SAMPLE, MASKS };
enum { OBJECTIVE_DROPOUT, OBJECTIVE_RISK, OBJECTIVE_RISK_R1, OBJECTIVES };
enum { OPTIMIZER_SGD, OPTIMIZER_MOMENTUM, OPTIMIZER_ADAM, OPTIMIZERS };

/* n samples, D inputs, c outputs, m neurons, P = m (c + D); arrays in the dtype of the kernel, C-contiguous.
   The same field names as kernels/spec.py, where each is explained. */
typedef struct {
    int activation, mask, objective, optimizer;
    int minibatch, replace; /* whether samples are drawn at every step, and with replacement */
    int64_t samples, inputs, outputs, width, batch; /* batch: samples of a step */
    double output_scale, momentum, beta1, beta2, epsilon;
    uint64_t seed;
    int64_t first_step, steps;
    int64_t members;
    const void *x;           /* (n, D) */
    const void *y;           /* (n, c) */
    void *theta;             /* (M, P) */
    void *moments;           /* (M, k, P) */
    const double *lr;        /* (M,) */
    const double *keep_prob; /* (M,) */
    const uint64_t *member;  /* (M,) */
    int64_t *diverged;       /* (M,) */
    void *out;               /* evaluate: (M, n, c) */
} simdrop_task;

/* Each function returns 0, or -1 where memory for its workspace cannot be had. */
typedef struct {
    const char *name;
    int (*advance[2])(const simdrop_task *); /* by dtype: float32, float64 */
    int (*evaluate[2])(const simdrop_task *);
    /* value and first derivative of an activation over an array, for tests */
    void (*activate[2])(int activation, int64_t count, const void *z, void *value, void *slope);
} simdrop_kernels;

#endif
