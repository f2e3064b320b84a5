/* The kernels of each instruction set, and which of them this processor runs: a part of module.c. */

#if defined(__x86_64__) || defined(_M_X64)
#define SIMDROP_X86 1
#endif

extern const simdrop_kernels simdrop_kernels_baseline;
#if defined(SIMDROP_X86)
extern const simdrop_kernels simdrop_kernels_avx2;
extern const simdrop_kernels simdrop_kernels_avx512;
extern const simdrop_kernels simdrop_kernels_avx512_intel;
#endif

/* By preference, on processors of Intel; on others the first comes after the second. */
static const simdrop_kernels *const KERNELS[] = {
#if defined(SIMDROP_X86)
    &simdrop_kernels_avx512_intel,
    &simdrop_kernels_avx512,
    &simdrop_kernels_avx2,
#endif
    &simdrop_kernels_baseline,
};
#define KERNEL_COUNT (sizeof KERNELS / sizeof KERNELS[0])

#if defined(SIMDROP_X86)
#include <cpuid.h>
#endif

#if defined(SIMDROP_X86) && defined(_MSC_VER) /* clang-cl links no library that holds what the builtin asks for */
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
    if (kernels != &simdrop_kernels_baseline) return processor_has(kernels != &simdrop_kernels_avx2);
#endif
    return kernels != NULL;
}

/* Number i of KERNELS by preference on this processor. Asked once: under a virtual machine the answer takes microseconds. */
static const simdrop_kernels *preferred(size_t i) {
#if defined(SIMDROP_X86)
    static int intel = -1; /* under the GIL */
    if (intel < 0) { /* "Genu" "ineI" "ntel" is what Intel's say */
        unsigned most, b = 0, c = 0, d = 0;
        intel = __get_cpuid(0, &most, &b, &c, &d) && b == 0x756E6547 && d == 0x49656E69 && c == 0x6C65746E;
    }
    if (!intel && i < 2) return KERNELS[1 - i];
#endif
    return KERNELS[i];
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
