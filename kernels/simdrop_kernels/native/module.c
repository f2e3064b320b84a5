/* The Python module simdrop_kernels._native: checks what it is handed, releases the GIL, calls a kernel.

   Built for the limited API of Python 3.11: no NumPy headers, arrays come by the buffer protocol. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#include "task.h"

#if defined(__x86_64__) || defined(_M_X64)
#define SIMDROP_X86 1
#endif

extern const simdrop_kernels simdrop_kernels_baseline;
#if defined(SIMDROP_X86)
extern const simdrop_kernels simdrop_kernels_avx2;
extern const simdrop_kernels simdrop_kernels_avx512;
#endif

/* By preference. */
static const simdrop_kernels *const KERNELS[] = {
#if defined(SIMDROP_X86)
    &simdrop_kernels_avx512,
    &simdrop_kernels_avx2,
#endif
    &simdrop_kernels_baseline,
};
#define KERNEL_COUNT (sizeof KERNELS / sizeof KERNELS[0])

#if defined(SIMDROP_X86) && defined(_MSC_VER) /* clang-cl links no library that holds what the builtin asks for */
#include <cpuid.h>

static int processor_has(int avx512) {
    unsigned a, b, c, d, state, unused;
    const unsigned fma = 1u << 12, xsave = 1u << 27;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (fma | xsave)) != (fma | xsave)) return 0;
    __asm__ volatile("xgetbv" : "=a"(state), "=d"(unused) : "c"(0));
    const unsigned saved = avx512 ? 0xE6 : 0x06; /* registers that the system keeps for a thread */
    if ((state & saved) != saved || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    const unsigned avx2 = 1u << 5 | 1u << 3 | 1u << 8; /* with BMI and BMI 2 */
    const unsigned wide = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* F, DQ, CD, BW, VL */
    const unsigned needed = avx512 ? avx2 | wide : avx2;
    return (b & needed) == needed;
}
#elif defined(SIMDROP_X86)
static int processor_has(int avx512) {
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                     __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    if (!avx512) return avx2;
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

static int runs_here(const simdrop_kernels *kernels) {
#if defined(SIMDROP_X86)
    if (kernels != &simdrop_kernels_baseline) return processor_has(kernels == &simdrop_kernels_avx512);
#endif
    return kernels != NULL;
}

/* The kernels of an instruction set that runs here, or NULL with an exception. */
static const simdrop_kernels *find_kernels(const char *isa) {
    for (size_t i = 0; i < KERNEL_COUNT; i++) {
        if (strcmp(KERNELS[i]->name, isa) != 0) continue;
        if (runs_here(KERNELS[i])) return KERNELS[i];
        PyErr_Format(PyExc_ValueError, "isa: this processor lacks %s", isa);
        return NULL;
    }
    PyErr_Format(PyExc_ValueError, "isa: unknown instruction set %s", isa);
    return NULL;
}

/* What an array must be. A length of -1 is any. */
typedef struct {
    const char *name;
    char kind; /* 'f' float32, 'd' float64, 'r' either of both, 'i' int64, 'u' uint64 */
    int writable, ndim;
    int64_t shape[3];
} array_rule;

static int format_is(const Py_buffer *view, char kind) {
    const char *format = view->format ? view->format : "B";
    if (*format == '@' || *format == '=') format++;
    if (format[0] == '\0' || format[1] != '\0') return 0;
    if (kind == 'r') return *format == 'f' || *format == 'd';
    if (kind == 'i') return view->itemsize == 8 && (*format == 'l' || *format == 'q');
    if (kind == 'u') return view->itemsize == 8 && (*format == 'L' || *format == 'Q');
    return *format == kind;
}

static const char *kind_name(char kind) {
    switch (kind) {
    case 'f': return "float32";
    case 'd': return "float64";
    case 'i': return "int64";
    case 'u': return "uint64";
    default: return "float32 or float64";
    }
}

/* Fills `view`, or sets an exception that names the array and returns -1 with nothing held. */
static int take_array(PyObject *object, const array_rule *rule, Py_buffer *view) {
    if (PyObject_GetBuffer(object, view, PyBUF_STRIDED_RO | PyBUF_FORMAT)) {
        PyErr_Format(PyExc_TypeError, "%s: an array is needed, not %R", rule->name, (PyObject *)Py_TYPE(object));
        return -1;
    }
    if (!format_is(view, rule->kind)) {
        PyErr_Format(PyExc_TypeError, "%s: dtype must be %s, not format '%s'", rule->name, kind_name(rule->kind),
                     view->format ? view->format : "B");
    } else if (view->ndim != rule->ndim) {
        PyErr_Format(PyExc_ValueError, "%s: %d dimensions are needed, not %d", rule->name, rule->ndim, view->ndim);
    } else if (!PyBuffer_IsContiguous(view, 'C')) {
        PyErr_Format(PyExc_ValueError, "%s: must be C-contiguous", rule->name);
    } else if ((uintptr_t)view->buf % (uintptr_t)view->itemsize != 0) {
        PyErr_Format(PyExc_ValueError, "%s: must be aligned to its items", rule->name);
    } else if (rule->writable && view->readonly) {
        PyErr_Format(PyExc_ValueError, "%s: is read-only but would be written", rule->name);
    } else {
        for (int axis = 0; axis < rule->ndim; axis++) {
            if (rule->shape[axis] < 0 || rule->shape[axis] == view->shape[axis]) continue;
            PyErr_Format(PyExc_ValueError, "%s: axis %d has length %zd, not %lld", rule->name, axis,
                         view->shape[axis], (long long)rule->shape[axis]);
            break;
        }
        if (!PyErr_Occurred()) return 0;
    }
    PyBuffer_Release(view);
    return -1;
}

#define MOST_ARRAYS 8

/* Takes `count` arrays by their rules; -1 with an exception and nothing held if one breaks its rule. */
static int take_arrays(PyObject *const *objects, const array_rule *rules, int count, Py_buffer *views) {
    for (int i = 0; i < count; i++) {
        if (take_array(objects[i], &rules[i], &views[i]) == 0) continue;
        while (i-- > 0) PyBuffer_Release(&views[i]);
        return -1;
    }
    return 0;
}

static void release_arrays(Py_buffer *views, int count) {
    for (int i = 0; i < count; i++) PyBuffer_Release(&views[i]);
}

/* Whether all axes have these lengths: 0, or -1 with an exception. */
static int check_lengths(const Py_buffer *views, const array_rule *rules, const int64_t (*lengths)[3], int count) {
    for (int i = 0; i < count; i++) {
        for (int axis = 0; axis < rules[i].ndim; axis++) {
            if (views[i].shape[axis] == lengths[i][axis]) continue;
            PyErr_Format(PyExc_ValueError, "%s: axis %d has length %zd, not %lld", rules[i].name, axis,
                         views[i].shape[axis], (long long)lengths[i][axis]);
            return -1;
        }
    }
    return 0;
}

/* The dtype of the array that decides it: 'f' or 'd', or 0 with an exception. */
static char real_kind(PyObject *object, const char *name) {
    Py_buffer view;
    const array_rule rule = {name, 'r', 0, 2, {-1, -1, -1}};
    if (take_array(object, &rule, &view)) return 0;
    const char kind = format_is(&view, 'f') ? 'f' : 'd';
    PyBuffer_Release(&view);
    return kind;
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
    else if (t->samples < 1 || t->samples > most) bad = "number of samples";
    else if (t->inputs < 1 || t->inputs > most) bad = "number of inputs";
    else if (t->outputs < 1 || t->outputs > most) bad = "number of outputs";
    else if (t->width < 1 || t->width > most) bad = "width";
    else if (t->batch < 1 || t->batch > most) bad = "batch size";
    else if (t->minibatch && !t->replace && t->batch > t->samples) bad = "batch size";
    else if (t->epochs && t->samples % t->batch != 0) bad = "batch size";
    else if (!are_steps(t->first_step, t->steps, INT64_C(1) << 32)) bad = "number of steps";
    else if (is_beyond_memory(vectors_of(t))) bad = "product of sizes";
    if (bad) PyErr_Format(PyExc_ValueError, "%s: out of range", bad);
    return bad ? -1 : 0;
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
    PyObject *arrays[MOST_ARRAYS];
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
    const array_rule rules[MOST_ARRAYS] = {
        {"x", kind, 0, 2, {-1, -1, -1}},      {"y", kind, 0, 2, {-1, -1, -1}},  {"theta", kind, 1, 2, {-1, -1, -1}},
        {"moments", kind, 1, 3, {-1, -1, -1}}, {"lr", 'd', 0, 2, {-1, -1, -1}},  {"keep_prob", 'd', 0, 1, {-1, -1, -1}},
        {"member", 'u', 0, 1, {-1, -1, -1}},   {"diverged", 'i', 1, 1, {-1, -1, -1}},
    };
    Py_buffer views[MOST_ARRAYS];
    if (take_arrays(arrays, rules, MOST_ARRAYS, views)) return NULL;
    t.samples = views[0].shape[0];
    t.inputs = views[0].shape[1];
    t.outputs = views[1].shape[1];
    t.members = views[2].shape[0];
    t.width = t.inputs + t.outputs > 0 ? views[2].shape[1] / (t.inputs + t.outputs) : 0;
    t.minibatch = batch != 0;
    t.batch = batch != 0 ? batch : t.samples;
    t.seed = seed;
    t.first_step = first_step;
    t.steps = steps;
    t.rates = views[4].shape[1] == 1 ? 1 : steps;
    const int64_t moments = t.optimizer == OPTIMIZER_ADAM ? 2 : t.optimizer != OPTIMIZER_SGD ? 1 : 0;
    const int64_t lengths[MOST_ARRAYS][3] = {
        {t.samples, t.inputs, 0}, {t.samples, t.outputs, 0}, {t.members, t.width * (t.inputs + t.outputs), 0},
        {t.members, moments, t.width * (t.inputs + t.outputs)}, {t.members, t.rates, 0}, {t.members, 0, 0},
        {t.members, 0, 0}, {t.members, 0, 0},
    };
    int failed = check_sizes(&t);
    const int unwritten = t.loss != LOSS_SQUARED || t.place != PLACE_BOTH || t.optimizer == OPTIMIZER_NESTEROV ||
                          t.epochs || t.weight_decay != 0 || t.rates > 1; /* for members in lanes: see layouts.py */
    if (!failed && (layout < 0 || layout >= LAYOUTS || (layout == LAYOUT_MEMBERS && unwritten))) {
        failed = -1;
        PyErr_SetString(PyExc_ValueError, "layout: out of range");
    }
    failed = failed || check_lengths(views, rules, lengths, MOST_ARRAYS);
    if (!failed && t.steps > 0) { /* else there may be no learning rates either */
        t.x = views[0].buf;
        t.y = views[1].buf;
        t.theta = views[2].buf;
        t.moments = views[3].buf;
        t.lr = views[4].buf;
        t.keep_prob = views[5].buf;
        t.member = views[6].buf;
        t.diverged = views[7].buf;
        Py_BEGIN_ALLOW_THREADS
        failed = kernels->advance[layout][kind == 'd'](&t);
        Py_END_ALLOW_THREADS
        if (failed) PyErr_NoMemory();
    }
    release_arrays(views, MOST_ARRAYS);
    if (failed) return NULL;
    Py_RETURN_NONE;
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
    const array_rule rules[3] = {
        {"x", kind, 0, 2, {-1, -1, -1}}, {"theta", kind, 0, 2, {-1, -1, -1}}, {"out", kind, 1, 3, {-1, -1, -1}}};
    Py_buffer views[3];
    if (take_arrays(arrays, rules, 3, views)) return NULL;
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
    release_arrays(views, 3);
    if (failed) return NULL;
    Py_RETURN_NONE;
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
    Py_ssize_t count = PyObject_Length(arrays[0]);
    if (count < 0) return NULL;
    const array_rule rules[3] = {
        {"z", kind, 0, 2, {1, -1, -1}}, {"value", kind, 1, 2, {1, -1, -1}}, {"slope", kind, 1, 2, {1, -1, -1}}};
    Py_buffer views[3];
    if (take_arrays(arrays, rules, 3, views)) return NULL;
    count = views[0].shape[1];
    const int failed = activation < 0 || activation >= ACTS || views[1].shape[1] != count || views[2].shape[1] != count;
    if (failed) {
        PyErr_SetString(PyExc_ValueError, "activate: unknown activation, or arrays of different lengths");
    } else {
        Py_BEGIN_ALLOW_THREADS
        kernels->activate[kind == 'd'](activation, count, views[0].buf, views[1].buf, views[2].buf);
        Py_END_ALLOW_THREADS
    }
    release_arrays(views, 3);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(instruction_sets_doc, "instruction_sets()\n\nEvery instruction set of this build, the fastest first, and\n"
                                   "whether this processor has it: a tuple of (name, bool).");

static PyObject *instruction_sets(PyObject *module, PyObject *ignored) {
    (void)module;
    (void)ignored;
    PyObject *all = PyTuple_New((Py_ssize_t)KERNEL_COUNT);
    if (all == NULL) return NULL;
    for (size_t i = 0; i < KERNEL_COUNT; i++) {
        PyObject *one = Py_BuildValue("(sN)", KERNELS[i]->name, PyBool_FromLong(runs_here(KERNELS[i])));
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
