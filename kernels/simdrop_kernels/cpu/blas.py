"""BLAS's product of matrices that adds to what is there, which Numba's `np.dot` cannot."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from .compile import leaf

_CHAR, _INT, _LONG = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_POINTER = _CHAR.as_pointer()
#: of `numba_xxgemm`, the function behind `np.dot`: it calls the BLAS of SciPy, and code that names it can be cached
_GEMM = ir.FunctionType(
    _INT,
    [_CHAR] * 3  # precision; whether the first, the second factor is transposed
    + [_LONG] * 3  # rows and columns of the product, length of its sums
    + [_POINTER, _POINTER, _LONG, _POINTER, _LONG]  # alpha; the factors, each with the distance of its columns
    + [_POINTER, _POINTER, _LONG],  # beta; the product, with the distance of its columns
)


class _Matrix:
    """An array of two axes under construction: its data, its shape, and the distance of its rows in numbers."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        array = make_array(kind)(context, builder, value)
        self.data = builder.bitcast(array.data, _POINTER)
        self.rows, self.columns = cgutils.unpack_tuple(builder, array.shape, 2)
        step = builder.sdiv(cgutils.unpack_tuple(builder, array.strides, 2)[0], array.itemsize)
        # NumPy leaves open what the stride of a single row is, BLAS wants at least the length of a row
        self.distance = builder.select(builder.icmp_signed("<", step, self.columns), self.columns, step)


@intrinsic
def _gemm(typing, out, alpha, left, turned, right, right_turned, beta):
    number = out.dtype
    flag = types.boolean

    def emit(context, builder, signature, args):
        kinds = signature.args
        c, a, b = (_Matrix(context, builder, kinds[k], args[k]) for k in (0, 2, 4))

        def char(condition: Any) -> Any:
            return builder.select(condition, ir.Constant(_CHAR, ord("t")), ir.Constant(_CHAR, ord("n")))

        def pointer(value: Any) -> Any:
            return builder.bitcast(cgutils.alloca_once_value(builder, value), _POINTER)

        # BLAS takes columns for rows: to it all three are transposed, and (left · right)ᵀ = rightᵀ · leftᵀ
        builder.call(
            cgutils.get_or_insert_function(builder.module, _GEMM, "numba_xxgemm"),
            [
                ir.Constant(_CHAR, ord("s" if number == types.float32 else "d")), char(args[5]), char(args[3]),
                c.columns, c.rows, builder.select(args[3], a.rows, a.columns),
                pointer(args[1]), b.data, b.distance, a.data, a.distance,
                pointer(args[6]), c.data, c.distance,
            ],
        )  # fmt: skip
        return context.get_dummy_value()

    return types.void(out, number, left, flag, right, flag, number), emit


@leaf
def gemm(out, alpha, left, turned, right, right_turned, beta):
    """out = alpha · left · right + beta · out; a factor is transposed where it is `turned`.

    Arrays of two axes in one precision, whose rows may lie apart but not their columns. Where beta is 0, what is
    in `out` is not read.
    """
    # Kernels that are closures name this function, never the intrinsic: that has another name in every process, by
    # which Numba would find none of them in its cache.
    _gemm(out, alpha, left, turned, right, right_turned, beta)
