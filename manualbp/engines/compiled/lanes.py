"""Products with one sample, eight units of a layer at a time, each sum held in a register through a whole loop.

Exploits that with W stored by columns, a layer's units end to end and padded with 0 to a multiple of 8, no loop has a
rest, z needs no sum across a register, and one pass over W is dJ/da and the update. Written in LLVM's own terms: a
compiler cannot know that parameters and values do not overlap, and would keep every sum in memory.
"""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8  # a vector register of float32, two of float64
REORDERED = ("reassoc", "contract")
LOOP = {"error_model": "numpy", "cache": True}


class Registers:
    """Numbers from memory to registers of `LANES` and back."""

    def __init__(self, builder, number):
        self.builder, self.kind = builder, ir.VectorType(number, LANES)
        self.bytes = 4 if isinstance(number, ir.FloatType) else 8

    def _place(self, pointer, offset, k):
        builder = self.builder
        place = builder.gep(pointer, [builder.add(offset, ir.Constant(offset.type, k * LANES))])
        return builder.bitcast(place, self.kind.as_pointer())

    def load(self, pointer, offset, k):
        """The k-th of the registers that begin at an offset of a pointer."""
        return self.builder.load(self._place(pointer, offset, k), align=self.bytes)

    def store(self, value, pointer, offset, k):
        """Put it back."""
        self.builder.store(value, self._place(pointer, offset, k), align=self.bytes)

    def filled(self, number):
        """The same number in all places."""
        whole = ir.IntType(32)
        first = self.builder.insert_element(ir.Constant(self.kind, ir.Undefined), number, whole(0))
        return self.builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(whole, LANES), [0] * LANES))

    def fma(self, a, b, c):
        """a b + c, in one rounding or two."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=REORDERED), c, flags=REORDERED)

    def total(self, value):
        """The sum of its numbers, half by half."""
        whole, width = ir.IntType(32), LANES
        while width > 1:
            width //= 2
            order = [width + i if i < width else i for i in range(LANES)]
            mask = ir.Constant(ir.VectorType(whole, LANES), order)
            value = self.builder.fadd(value, self.builder.shuffle_vector(value, value, mask), flags=REORDERED)
        return self.builder.extract_element(value, whole(0))


def _forward(registers):
    """z = W a + b for so many registers of units; `w` is where the first input's weights begin, `stride` apart.

    The inputs begin at `a` of `source`: x itself, or the values of the layer below.
    """

    @intrinsic
    def forward(context, theta, v, w, stride, b, source, a, z, n):
        def generate(context, builder, signature, args):
            theta, v, w, stride, b, source, a, z, n = args
            r = Registers(builder, theta.type.pointee)
            sums = [cgutils.alloca_once_value(builder, r.load(theta, b, k)) for k in range(registers)]
            with cgutils.for_range(builder, n) as loop:
                value = r.filled(builder.load(builder.gep(source, [builder.add(a, loop.index)])))
                row = builder.add(w, builder.mul(loop.index, stride))
                for k, place in enumerate(sums):
                    builder.store(r.fma(value, r.load(theta, row, k), builder.load(place)), place)
            for k, place in enumerate(sums):
                r.store(builder.load(place), v, z, k)
            return context.get_dummy_value()

        return types.void(theta, v, *(types.int64,) * 3, source, *(types.int64,) * 3), generate

    return forward


def _back(registers):
    """Of so many registers: dJ/da = W^T delta where `passed`, added to what is there unless `first`; and the update."""

    @intrinsic
    def back(context, theta, to, v, w, stride, b, delta, source, a, da, n, factors, passed, first, biased):
        def generate(context, builder, signature, args):
            theta, to, v, w, stride, b, delta, source, a, da, n, factors, passed, first, biased = args
            alpha, beta, beta_b = cgutils.unpack_tuple(builder, factors)
            r = Registers(builder, theta.type.pointee)
            deltas = [r.load(v, delta, k) for k in range(registers)]
            scaled = [builder.fmul(r.filled(alpha), d) for d in deltas]
            betas = r.filled(beta)
            with cgutils.for_range(builder, n) as loop:
                row = builder.add(w, builder.mul(loop.index, stride))
                with builder.if_then(passed):
                    place = builder.gep(v, [builder.add(da, loop.index)])
                    total = builder.fmul(r.load(theta, row, 0), deltas[0])
                    for k in range(1, registers):
                        total = r.fma(r.load(theta, row, k), deltas[k], total)
                    before = builder.select(first, ir.Constant(v.type.pointee, 0), builder.load(place))
                    builder.store(builder.fadd(before, r.total(total)), place)
                value = r.filled(builder.load(builder.gep(source, [builder.add(a, loop.index)])))
                for k in range(registers):
                    kept = builder.fmul(betas, r.load(to, row, k))
                    r.store(r.fma(value, scaled[k], kept), to, row, k)
            with builder.if_then(biased):
                betas = r.filled(beta_b)
                for k in range(registers):
                    r.store(builder.fadd(builder.fmul(betas, r.load(to, b, k)), scaled[k]), to, b, k)
            return context.get_dummy_value()

        return types.void(
            theta, to, v, *(types.int64,) * 4, source, *(types.int64,) * 3, factors, *(types.boolean,) * 3
        ), generate

    return back


_forward_1, _forward_2, _forward_4 = _forward(1), _forward(2), _forward(4)
_back_1, _back_2, _back_4 = _back(1), _back(2), _back(4)


@njit(**LOOP)
def forward(theta, v, w, b, source, a, z, n, padded):
    """z = W a + b."""
    unit, stride = 0, padded
    while unit < padded:
        left = padded - unit
        if left >= 4 * LANES:
            _forward_4(theta, v, w + unit, stride, b + unit, source, a, z + unit, n)
            unit += 4 * LANES
        elif left >= 2 * LANES:
            _forward_2(theta, v, w + unit, stride, b + unit, source, a, z + unit, n)
            unit += 2 * LANES
        else:
            _forward_1(theta, v, w + unit, stride, b + unit, source, a, z + unit, n)
            unit += LANES


@njit(**LOOP)
def back(theta, to, v, w, b, delta, source, a, da, n, padded, factors, passed, biased):
    """dJ/da = W^T delta, where it is to be passed on, and the update, or the gradient:

    to W = beta (to W) + alpha delta a^T, to b = beta_b (to b) + alpha delta, with `factors` alpha, beta, beta_b.
    """
    unit, stride = 0, padded
    while unit < padded:
        left, W, bias, own, first = padded - unit, w + unit, b + unit, delta + unit, unit == 0
        if left >= 4 * LANES:
            _back_4(theta, to, v, W, stride, bias, own, source, a, da, n, factors, passed, first, biased)
            unit += 4 * LANES
        elif left >= 2 * LANES:
            _back_2(theta, to, v, W, stride, bias, own, source, a, da, n, factors, passed, first, biased)
            unit += 2 * LANES
        else:
            _back_1(theta, to, v, W, stride, bias, own, source, a, da, n, factors, passed, first, biased)
            unit += LANES
