"""Shadows entry by entry: arithmetic, functions, and what depends on a decision (relu, abs, maximum, >)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from compare.check.shadow import Shadow

Array = NDArray[Any]  # of the context's numbers
Rule = Callable[["Shadow", Any, tuple[Any, ...], dict[str, Any]], list[Array]]


class Unknown(Exception):
    """The precise value cannot be had here."""


def _exponent(x: Any) -> Any:
    if not abs(x) <= 1e6:  # the exponent alone would fill the memory
        raise Unknown("an exponential of a huge number")
    return x


def _power(c: Any, x: Any, n: Any) -> Any:
    return x ** _exponent(n)


def _erf(c: Any, x: Any) -> Any:
    if abs(x) > 100:
        raise Unknown("erf of a number so large")
    return c.erf(x)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "mul": lambda c, a, b: a * b,
    "div": lambda c, a, b: a / b,
    "neg": lambda c, a: -a,
    "exp": lambda c, x: c.exp(_exponent(x)),
    "exp2": lambda c, x: c.mpf(2) ** _exponent(x),
    "expm1": lambda c, x: c.expm1(_exponent(x)),
    "log": lambda c, x: c.log(x),
    "log2": lambda c, x: c.log(x) / c.log(2),
    "log10": lambda c, x: c.log(x) / c.log(10),
    "log1p": lambda c, x: c.log1p(x),
    "sigmoid": lambda c, x: 1 / (1 + c.exp(-_exponent(x))),
    "tanh": lambda c, x: c.tanh(_exponent(x)),
    "sinh": lambda c, x: c.sinh(_exponent(x)),
    "cosh": lambda c, x: c.cosh(_exponent(x)),
    "sin": lambda c, x: c.sin(_exponent(x)),
    "cos": lambda c, x: c.cos(_exponent(x)),
    "atan": lambda c, x: c.atan(x),
    "sqrt": lambda c, x: c.sqrt(x),
    "rsqrt": lambda c, x: 1 / c.sqrt(x),
    "reciprocal": lambda c, x: 1 / x,
    "square": lambda c, x: x * x,
    "pow": _power,
    "erf": _erf,
    "logaddexp": lambda c, a, b: c.log(c.exp(_exponent(a)) + c.exp(_exponent(b))),
    "addcmul": lambda c, x, a, b: x + a * b,
    "addcdiv": lambda c, x, a, b: x + a / b,
    "lerp": lambda c, a, b, w: a + w * (b - a),
    "silu": lambda c, x: x / (1 + c.exp(-_exponent(x))),
}


def _elementwise(f: Callable[..., Any]) -> Rule:
    def rule(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
        if kwargs:
            raise Unknown(str(func))
        return [s.elementwise(f, [s.read(a) for a in args])]

    return rule


def _sum_of_two(sign: int, reverse: bool = False) -> Rule:
    def rule(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
        alpha = sign * s.c.mpf(kwargs.get("alpha", args[2] if len(args) > 2 else 1))
        a, b = (s.read(each) for each in (args[1::-1] if reverse else args[:2]))
        return [s.elementwise(lambda c, x, y: x + alpha * y, [a, b])]

    return rule


# By the sign of x - pivot as float64 has it; at a tie the result whose difference quotient is autograd's choice.
def _relu(s: Shadow, x: Any, x64: float) -> Any:
    return x if s.side(x, 0, x64, 0.0) > 0 else s.c.mpf(0)


def _abs(s: Shadow, x: Any, x64: float) -> Any:
    return x * s.side(x, 0, x64, 0.0)


def _sign(s: Shadow, x: Any, x64: float) -> Any:
    return s.c.mpf(s.side(x, 0, x64, 0.0))


def maximum(s: Shadow, a: Any, b: Any, a64: float, b64: float) -> Any:
    """The greater of two; their mean at a tie."""
    side = s.side(a, b, a64, b64)
    return (a + b) / 2 if side == 0 else a if side > 0 else b


def minimum(s: Shadow, a: Any, b: Any, a64: float, b64: float) -> Any:
    """The lesser of two; their mean at a tie."""
    return -maximum(s, -a, -b, -a64, -b64)


def _clamp(s: Shadow, x: Any, low: Any, high: Any, x64: float, low64: float, high64: float) -> Any:
    if low is not None and s.side(x, low, x64, low64) < 0:
        x, x64 = low, low64
    return high if high is not None and s.side(x, high, x64, high64) > 0 else x


def _clamp_min(s: Shadow, x: Any, low: Any, x64: float, low64: float) -> Any:
    return _clamp(s, x, low, None, x64, low64, 0.0)


def _clamp_max(s: Shadow, x: Any, high: Any, x64: float, high64: float) -> Any:
    return _clamp(s, x, None, high, x64, 0.0, high64)


def _leaky_relu(s: Shadow, x: Any, slope: Any, x64: float, slope64: float) -> Any:
    return x if s.side(x, 0, x64, 0.0) > 0 else slope * x


def _elu(s: Shadow, x: Any, alpha: Any, scale: Any, slope: Any, x64: float, *rest: float) -> Any:
    return scale * (x if s.side(x, 0, x64, 0.0) > 0 else alpha * s.c.expm1(_exponent(x * slope)))


def _comparison(s: Shadow, a: Any, b: Any, a64: float, b64: float) -> Any:
    return s.c.mpf(s.side(a, b, a64, b64))


_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "clamp": (None, None),
    "leaky_relu": (0.01,),
    "hardtanh": (-1.0, 1.0),
    "elu": (1.0, 1.0, 1.0),
}


def decided(f: Callable[..., Any], name: str) -> Rule:
    """A rule by f(shadow, *precise entries, *float64 entries)."""

    def rule(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
        given = [*args, *_DEFAULTS.get(name, ())[len(args) - 1 :]]
        if kwargs:
            raise Unknown(str(func))
        plain = [float64(a) for a in given]
        return [s.elementwise(lambda c, *entries: f(s, *entries), [s.read(a) for a in given], tuple(plain))]

    return rule


def _compared(s: Shadow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Array]:
    """Both sides agree on every comparison; its result is a decision and has no shadow."""
    decided(_comparison, "")(s, func, args, kwargs)
    return []


def float64(value: Any) -> Any:
    """The float64 numbers of an argument, safe from later changes in place; NaN for one that is left out."""
    if not isinstance(value, Tensor):
        return math.nan if value is None else float(value)
    return value.detach().double().cpu().numpy().copy()


_DECIDED: dict[str, Callable[..., Any]] = {
    "relu": _relu,
    "abs": _abs,
    "sign": _sign,
    "sgn": _sign,
    "maximum": maximum,
    "minimum": minimum,
    "clamp": _clamp,
    "hardtanh": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
}

ENTRY_RULES: dict[str, Rule] = (
    {name: _elementwise(f) for name, f in ELEMENTWISE.items()}
    | dict.fromkeys("gt lt ge le eq ne".split(), _compared)
    | {name: decided(f, name) for name, f in _DECIDED.items()}
    | {"add": _sum_of_two(1), "sub": _sum_of_two(-1), "rsub": _sum_of_two(-1, reverse=True)}
)
