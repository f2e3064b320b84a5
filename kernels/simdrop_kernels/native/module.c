/* The Python module simdrop_kernels._native: checks what it is handed, releases the GIL, calls a kernel.

   Built for the limited API of Python 3.11: no NumPy headers, arrays come by the buffer protocol. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "task.h"
#include "processor.h"
#include "arrays.h"

static int out_of_range(const char *what) {
    PyErr_Format(PyExc_ValueError, "%s: out of range", what);
    return -1;
}

/* Whether there are such steps where `most` can be counted. */
static int are_steps(int64_t first, int64_t steps, int64_t most) {
    return steps >= 0 && first >= 0 && first <= most && steps <= most - first;
}

/* Whether no memory holds so many vectors. Their bytes are far from overflowing 64 bits up to there, so that kernels need
   not watch products of sizes of which each is allowed. */
static int is_beyond_memory(double vectors) { return vectors > 0x1p50; }

/* Vectors of a kernel's workspace, or more; in double precision, which does not overflow. */
static double vectors_of(const simdrop_task *t) {
    const double samples = (double)t->samples, batch = (double)t->batch + 64, width = (double)t->width + 64;
    const double of_neuron = (double)t->inputs + (double)t->outputs + 64;
    return 8 * ((width + batch) * of_neuron + width * batch + samples);
}

/* The first size that is out of range, or NULL. */
static const char *bad_size(int64_t samples, int64_t inputs, int64_t outputs, int64_t width, int64_t most) {
    if (samples < 1 || samples > most) return "number of samples";
    if (inputs < 1 || inputs > most) return "number of inputs";
    if (outputs < 1 || outputs > most) return "number of outputs";
    return width < 1 || width > most ? "width" : NULL;
}

/* Sizes that every kernel needs to be sound; the numbers themselves are validated by the callers. */
static int check_sizes(const simdrop_task *t) {
    const int64_t most = INT64_C(1) << 30;
    const char *bad = NULL;
    if (t->activation < 0 || t->activation >= ACTS) bad = "activation";
    else if (t->mask < 0 || t->mask >= MASKS) bad = "mask";
    else if (t->objective < 0 || t->objective >= OBJECTIVES) bad = "objective";
    else if (t->optimizer < 0 || t->optimizer >= OPTIMIZERS) bad = "optimizer";
    else if (t->loss < 0 || t->loss >= LOSSES) bad = "loss";
    else if (t->place < 0 || t->place >= PLACES || (t->place != PLACE_BOTH && t->mask != MASK_STEP)) bad = "place";
    else if ((bad = bad_size(t->samples, t->inputs, t->outputs, t->width, most))) return out_of_range(bad);
    else if (t->batch < 1 || t->batch > most) bad = "batch size";
    else if (t->minibatch && !t->replace && t->batch > t->samples) bad = "batch size";
    else if (t->epochs && t->samples % t->batch != 0) bad = "batch size";
    else if (!are_steps(t->first_step, t->steps, INT64_C(1) << 32)) bad = "number of steps";
    else if (is_beyond_memory(vectors_of(t))) bad = "product of sizes";
    return bad ? out_of_range(bad) : 0;
}

/* What training takes, plain or under more noise, in this order. */
enum { X, Y, THETA, MOMENTS, LR, KEEP_PROB, MEMBER, DIVERGED, TRAINING_ARRAYS };
static const array_rule TRAINING[TRAINING_ARRAYS] = {
    {"x", 'r', 0, 2},  {"y", 'r', 0, 2},         {"theta", 'r', 1, 2},  {"moments", 'r', 1, 3},
    {"lr", 'd', 0, 2}, {"keep_prob", 'd', 0, 1}, {"member", 'u', 0, 1}, {"diverged", 'i', 1, 1},
};

/* Macros, as these serve both kinds of task: the sizes that x, y and theta have; whether the lengths of all arrays agree
   with them, 0, or -1 with an exception; the arrays themselves. */
#define TAKE_SIZES(t, views) \
    ((t).samples = (views)[X].shape[0], (t).inputs = (views)[X].shape[1], (t).outputs = (views)[Y].shape[1], \
     (t).members = (views)[THETA].shape[0], \
     (t).width = (t).inputs + (t).outputs > 0 ? (views)[THETA].shape[1] / ((t).inputs + (t).outputs) : 0)
#define CHECK_TRAINING(t, rates, views) \
    check_training(views, (t).samples, (t).inputs, (t).outputs, (t).width, (t).members, moments_of((t).optimizer), rates)
#define TAKE_TRAINING(t, views) \
    ((t).x = (views)[X].buf, (t).y = (views)[Y].buf, (t).theta = (views)[THETA].buf, \
     (t).moments = (views)[MOMENTS].buf, (t).lr = (views)[LR].buf, (t).keep_prob = (views)[KEEP_PROB].buf, \
     (t).member = (views)[MEMBER].buf, (t).diverged = (views)[DIVERGED].buf)

static int check_training(const Py_buffer *views, int64_t samples, int64_t inputs, int64_t outputs, int64_t width,
                          int64_t members, int64_t moments, int64_t rates) {
    const int64_t params = width * (inputs + outputs);
    const int64_t lengths[TRAINING_ARRAYS][3] = {
        {samples, inputs}, {samples, outputs}, {members, params}, {members, moments, params},
        {members, rates},  {members},          {members},         {members},
    };
    return check_lengths(views, TRAINING, lengths, TRAINING_ARRAYS);
}

PyDoc_STRVAR(advance_doc,
             "advance(isa, config, x, y, theta, moments, lr, keep_prob, member, diverged, first_step, steps,\n"
             "        layout)\n\n"
             "Train all members in place; config is (activation, mask, objective, optimizer, loss, place,\n"
             "batch or 0, replace, output_scale, momentum, beta1, beta2, epsilon, seed, epochs, weight_decay,\n"
             "decoupled), names as their numbers: their places in the module's tuples activations, masks,\n"
             "objectives, optimizers, losses and places; layout likewise.");

static PyObject *advance(PyObject *module, PyObject *args) {
    (void)module;
    simdrop_task t;
    memset(&t, 0, sizeof t);
    const char *isa;
    PyObject *arrays[TRAINING_ARRAYS];
    long long batch, first_step, steps;
    unsigned long long seed;
    int layout;
    if (!PyArg_ParseTuple(args, "s(iiiiiiLpdddddKpdp)OOOOOOOOLLi:advance", &isa, &t.activation, &t.mask, &t.objective,
                          &t.optimizer, &t.loss, &t.place, &batch, &t.replace, &t.output_scale, &t.momentum, &t.beta1,
                          &t.beta2, &t.epsilon, &seed, &t.epochs, &t.weight_decay, &t.decoupled, &arrays[0],
                          &arrays[1], &arrays[2], &arrays[3], &arrays[4], &arrays[5], &arrays[6], &arrays[7],
                          &first_step, &steps, &layout)) {
        return NULL;
    }
    const simdrop_kernels *kernels = find_kernels(isa);
    const char kind = kernels ? real_kind(arrays[2], "theta") : 0;
    if (!kind) return NULL;
    Py_buffer views[TRAINING_ARRAYS];
    if (take_arrays(arrays, TRAINING, TRAINING_ARRAYS, kind, views)) return NULL;
    TAKE_SIZES(t, views);
    t.minibatch = batch != 0;
    t.batch = batch != 0 ? batch : t.samples;
    t.seed = seed;
    t.first_step = first_step;
    t.steps = steps;
    t.rates = views[LR].shape[1] == 1 ? 1 : steps;
    int failed = check_sizes(&t);
    const int unwritten = t.place != PLACE_BOTH || t.epochs; /* for members in lanes: see layouts.py */
    if (!failed && (layout < 0 || layout >= LAYOUTS || (layout == LAYOUT_MEMBERS && unwritten))) {
        failed = out_of_range("layout");
    }
    failed = failed || CHECK_TRAINING(t, t.rates, views);
    if (!failed && t.steps > 0) { /* else there may be no learning rates either */
        TAKE_TRAINING(t, views);
        Py_BEGIN_ALLOW_THREADS
        failed = kernels->advance[layout][kind == 'd'](&t);
        Py_END_ALLOW_THREADS
        if (failed) PyErr_NoMemory();
    }
    return release_arrays(views, TRAINING_ARRAYS, failed);
}

#include "path_module.h"

PyDoc_STRVAR(evaluate_doc, "evaluate(isa, activation, output_scale, x, theta, out)\n\n"
                           "Write the outputs (M, n, c) of whole networks to `out`.");

static PyObject *evaluate(PyObject *module, PyObject *args) {
    (void)module;
    simdrop_task t;
    memset(&t, 0, sizeof t);
    const char *isa;
    PyObject *arrays[3];
    if (!PyArg_ParseTuple(args, "sidOOO:evaluate", &isa, &t.activation, &t.output_scale, &arrays[0], &arrays[1],
                          &arrays[2])) {
        return NULL;
    }
    const simdrop_kernels *kernels = find_kernels(isa);
    const char kind = kernels ? real_kind(arrays[1], "theta") : 0;
    if (!kind) return NULL;
    static const array_rule rules[3] = {{"x", 'r', 0, 2}, {"theta", 'r', 0, 2}, {"out", 'r', 1, 3}};
    Py_buffer views[3];
    if (take_arrays(arrays, rules, 3, kind, views)) return NULL;
    t.samples = t.batch = views[0].shape[0];
    t.inputs = views[0].shape[1];
    t.members = views[1].shape[0];
    t.outputs = views[2].shape[2];
    t.width = t.inputs + t.outputs > 0 ? views[1].shape[1] / (t.inputs + t.outputs) : 0;
    t.objective = OBJECTIVE_RISK;
    int failed = check_sizes(&t);
    if (!failed && views[1].shape[1] != t.width * (t.inputs + t.outputs)) {
        failed = -1;
        PyErr_Format(PyExc_ValueError, "theta: %zd parameters are no multiple of %lld inputs and outputs",
                     views[1].shape[1], (long long)(t.inputs + t.outputs));
    }
    if (!failed && (views[2].shape[0] != t.members || views[2].shape[1] != t.samples)) {
        failed = -1;
        PyErr_SetString(PyExc_ValueError, "out: shape must be (members, samples, outputs)");
    }
    if (!failed) {
        t.x = views[0].buf;
        t.theta = views[1].buf;
        t.out = views[2].buf;
        Py_BEGIN_ALLOW_THREADS
        failed = kernels->evaluate[kind == 'd'](&t);
        Py_END_ALLOW_THREADS
        if (failed) PyErr_NoMemory();
    }
    return release_arrays(views, 3, failed);
}

PyDoc_STRVAR(activate_doc, "activate(isa, activation, z, value, slope)\n\n"
                           "Write the activation and its first derivative at z; all of shape (1, n).");

static PyObject *activate(PyObject *module, PyObject *args) {
    (void)module;
    const char *isa;
    int activation;
    PyObject *arrays[3];
    if (!PyArg_ParseTuple(args, "siOOO:activate", &isa, &activation, &arrays[0], &arrays[1], &arrays[2])) return NULL;
    const simdrop_kernels *kernels = find_kernels(isa);
    const char kind = kernels ? real_kind(arrays[0], "z") : 0;
    if (!kind) return NULL;
    static const array_rule rules[3] = {{"z", 'r', 0, 2}, {"value", 'r', 1, 2}, {"slope", 'r', 1, 2}};
    Py_buffer views[3];
    if (take_arrays(arrays, rules, 3, kind, views)) return NULL;
    const int64_t count = views[0].shape[1], lengths[3][3] = {{1, count}, {1, count}, {1, count}};
    int failed = activation < 0 || activation >= ACTS ? out_of_range("activation") : 0;
    failed = failed || check_lengths(views, rules, lengths, 3);
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        kernels->activate[kind == 'd'](activation, count, views[0].buf, views[1].buf, views[2].buf);
        Py_END_ALLOW_THREADS
    }
    return release_arrays(views, 3, failed);
}

PyDoc_STRVAR(instruction_sets_doc, "instruction_sets()\n\nEvery instruction set of this build, the fastest first, and\n"
                                   "whether this processor has it: a tuple of (name, bool).");

static PyObject *instruction_sets(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    PyObject *all = PyTuple_New((Py_ssize_t)KERNEL_COUNT);
    if (all == NULL) return NULL;
    for (size_t i = 0; i < KERNEL_COUNT; i++) {
        PyObject *one = Py_BuildValue("(sN)", preferred(i)->name, PyBool_FromLong(runs_here(preferred(i))));
        if (one == NULL || PyTuple_SetItem(all, (Py_ssize_t)i, one)) {
            Py_DECREF(all);
            return NULL;
        }
    }
    return all;
}

static PyMethodDef methods[] = {
    {"advance", advance, METH_VARARGS, advance_doc},
    {"train_noisy", train_noisy, METH_VARARGS, train_noisy_doc},
    {"follow", follow, METH_VARARGS, follow_doc},
    {"evaluate", evaluate, METH_VARARGS, evaluate_doc},
    {"activate", activate, METH_VARARGS, activate_doc},
    {"instruction_sets", instruction_sets, METH_NOARGS, instruction_sets_doc},
    {NULL, NULL, 0, NULL},
};

/* Give the module a tuple of names; returns 0, or -1 with an exception. */
static int add_names(PyObject *module, const char *attribute, const char *const *names, Py_ssize_t count) {
    PyObject *all = PyTuple_New(count);
    if (all == NULL) return -1;
    int failed = 0;
    for (Py_ssize_t i = 0; i < count && !failed; i++) {
        PyObject *one = PyUnicode_FromString(names[i]);
        failed = one == NULL || PyTuple_SetItem(all, i, one);
    }
    failed = failed || PyModule_AddObjectRef(module, attribute, all);
    Py_DECREF(all);
    return failed ? -1 : 0;
}

static int add_all_names(PyObject *module) {
#define NAME(NUMBER, name) #name,
    static const char *const activations[] = {SIMDROP_ACTIVATIONS(NAME)}, *const masks[] = {SIMDROP_MASKS(NAME)};
    static const char *const objectives[] = {SIMDROP_OBJECTIVES(NAME)}, *const optimizers[] = {SIMDROP_OPTIMIZERS(NAME)};
    static const char *const losses[] = {SIMDROP_LOSSES(NAME)}, *const places[] = {SIMDROP_PLACES(NAME)};
    static const char *const layouts[] = {SIMDROP_LAYOUTS(NAME)};
#undef NAME
    return add_names(module, "activations", activations, ACTS) || add_names(module, "masks", masks, MASKS) ||
                   add_names(module, "objectives", objectives, OBJECTIVES) ||
                   add_names(module, "optimizers", optimizers, OPTIMIZERS) || add_names(module, "losses", losses, LOSSES) ||
                   add_names(module, "places", places, PLACES) || add_names(module, "layouts", layouts, LAYOUTS)
               ? -1
               : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, add_all_names}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Vectorised kernels of simdrop.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
