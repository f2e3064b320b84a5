"""Derives `coefficients.h`: near-minimax fits of the functions that the vectorised activations are made of.

Run as `python fit.py > coefficients.h` (needs mpmath, takes a minute or two). Each fit is a polynomial found by
least squares on Chebyshev points, reweighted towards the minimax fit (Lawson), in 50 digits. The least
degree is taken whose relative error stays below a part of the dtype's rounding error that leaves the
whole function within 4 ulp (tested).
"""

from __future__ import annotations

from functools import partial

import mpmath as mp

mp.mp.dps = 50
POINTS = 120
DTYPES = {"f32": (24, "f"), "f64": (53, "")}


def fit(function, low, high, degree: int):
    """Largest relative error and coefficients, from the constant term up, of a polynomial on [low, high]."""
    nodes = [low + (high - low) * (1 - mp.cos(mp.pi * (i + mp.mpf(1) / 2) / POINTS)) / 2 for i in range(POINTS)]
    unit = max(abs(low), abs(high))
    f = [function(x) for x in nodes]
    weight, best = [mp.mpf(1)] * POINTS, None
    for iteration in range(24):
        a, b = mp.matrix(POINTS, degree + 1), mp.matrix(POINTS, 1)
        for i, x in enumerate(nodes):
            scale = mp.sqrt(weight[i]) / abs(f[i])
            for k in range(degree + 1):
                a[i, k] = scale * (x / unit) ** k
            b[i] = scale * f[i]
        solution = list(mp.lu_solve(a.T * a, a.T * b))
        error = [abs(mp.polyval(solution[::-1], x / unit) / y - 1) for x, y in zip(nodes, f, strict=True)]
        worst = max(error)
        if best is None or worst < best[0]:
            best = worst, [c / unit**k for k, c in enumerate(solution)]
        if iteration >= 3:
            weight = [w * (e / worst + mp.mpf("0.02")) for w, e in zip(weight, error, strict=True)]
            total = mp.fsum(weight) / POINTS
            weight = [w / total for w in weight]
    return best


def least_degree(function, low, high, bits: int):
    """The fit of least degree whose error is below 2^-(bits + 2)."""
    for degree in range(1, 40):
        found = fit(function, low, high, degree)
        if found[0] < mp.mpf(2) ** -(bits + 2):
            return found
    raise ValueError("no degree reaches the error")


def emit(name: str, suffix: str, values) -> None:
    """One array of coefficients, from the constant term up."""
    digits = 9 if suffix else 17
    body = ", ".join(mp.nstr(v, digits, min_fixed=0, max_fixed=0) + suffix for v in values)
    print(f"static const {'float' if suffix else 'double'} {name}[] = {{{body}}};")


def coth_times(u):
    """r coth r at u = r²."""
    r = mp.sqrt(u)
    return r * mp.coth(r)


def exp_rest(r):
    """(exp r - 1 - r) / r²."""
    return (mp.exp(r) - 1 - r) / r**2


def atanh_rest(u):
    """(atanh s - s) / s³ at u = s²."""
    s = mp.sqrt(u)
    return (mp.atanh(s) / s - 1) / u


def erf_over(u):
    """erf x / x at u = x²."""
    x = mp.sqrt(u)
    return mp.erf(x) / x


def sin_rest(u):
    """(sin r - r) / r³ at u = r²."""
    r = mp.sqrt(u)
    return (mp.sin(r) / r - 1) / u


def cos_rest(u):
    """(cos r - 1 + r²/2) / r⁴ at u = r²."""
    return (mp.cos(mp.sqrt(u)) - 1 + u / 2) / u**2


def scaled_erfc(t, center):
    """(x + center) exp(x²) erfc(x) at t = (x - center) / (x + center)."""
    x = center * (1 + t) / (1 - t)
    return (x + center) * mp.exp(x * x) * mp.erfc(x)


def main() -> None:
    """Write the header to the standard output."""
    print("/* Written by fit.py: coefficients from the constant term up, largest relative error of each fit. */")
    half_log2 = mp.log(2) / 2 * mp.mpf("1.01")
    quarter = (mp.pi / 4 * mp.mpf("1.01")) ** 2
    for dtype, (bits, suffix) in DTYPES.items():
        step = mp.mpf("0.5") if dtype == "f32" else mp.mpf("1.25")  # between the points of tanh's table
        far = mp.mpf("10.4") if dtype == "f32" else mp.mpf("27.5")  # exp(-x²) rounds to 0 beyond
        center = mp.mpf(2) if dtype == "f32" else mp.mpf(3)
        table = {
            "coth": (coth_times, mp.mpf(0), (step / 2) ** 2),
            "exp": (exp_rest, -half_log2, half_log2),
            "atanh": (atanh_rest, mp.mpf(0), mp.mpf(1) / 9),
            "erf": (erf_over, mp.mpf(0), mp.mpf(1)),
            "erfcx": (partial(scaled_erfc, center=center), mp.mpf(-1), (far - center) / (far + center)),
            "sin": (sin_rest, mp.mpf(0), quarter),
            "cos": (cos_rest, mp.mpf(0), quarter),
        }
        entries = 32 if dtype == "f32" else 16  # AVX-512 takes all, the others what a lookup of 16 reaches
        emit(f"tanh_steps_{dtype}", suffix, [mp.tanh(j * step) for j in range(entries)])
        for name, (function, low, high) in table.items():
            # the rest terms of exp, atanh, sin, cos are a small part of the whole: fewer bits serve;
            # coth is what most steps spend their time on
            spared = {"coth": 1, "exp": 3, "atanh": 4, "sin": 3, "cos": 4}.get(name, 0)
            error, coefficients = least_degree(function, low, high, bits - spared)
            print(f"/* {name}, {dtype}: {mp.nstr(error, 2)} */")
            emit(f"{name}_p_{dtype}", suffix, coefficients)
        emit(f"erfcx_center_{dtype}", suffix, [center])
    # of steps twice as long and both signs, in the order of a number's low five bits
    emit("tanh_whole_f32", "f", [mp.tanh(j if j < 16 else j - 32) for j in range(32)])
    error, coefficients = least_degree(coth_times, mp.mpf(0), mp.mpf("0.25"), 23)
    print(f"/* coth over them: {mp.nstr(error, 2)} */")
    emit("coth_whole_p_f32", "f", coefficients)


if __name__ == "__main__":
    main()
