"""Formulas of plain text, such as `δz2 = dJ/da2 ∘ a2 ∘ (1 - a2)    (4)`, as MathML: browsers render it themselves."""

from __future__ import annotations

import re
from html import escape

TOKEN = re.compile(
    r"(?P<delta>δ)z(?P<layer>\d+)(?P<mark>'*)|(?P<letter>[WbzaJx])(?P<number>\d+)(?P<marks>'*)"
    r"|(?P<power>[ᵀ²])|(?P<word>[^\W\d_]{2,}(?:\.\w+)?)|(?P<symbol>[^\W\d_]̂?|ŷ)|(?P<digits>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<other>\S)"
)
POWERS = {"ᵀ": "<mi>T</mi>", "²": "<mn>2</mn>"}


def mathml(line: str) -> str:
    """One formula; its equation number, if it ends with one, stands beside it."""
    formula, _, number = line.partition("    ")
    parts: list[str] = []
    for found in TOKEN.finditer(formula.replace("dJ/d", "∂J/∂")):
        if found["power"] and parts:
            parts.append(f"<msup>{parts.pop()}{POWERS[found['power']]}</msup>")
        else:
            parts.append(_markup(found))
    said = escape(formula, quote=True)
    note = f' <span class="number">{escape(number.strip())}</span>' if number.strip() else ""
    return f'<math display="inline" aria-label="{said}"><mrow>{"".join(parts)}</mrow></math>{note}'


def _markup(found: re.Match[str]) -> str:
    if found["delta"]:
        return _indexed("δ", found["layer"], found["mark"])
    if found["letter"]:
        return _indexed(found["letter"], found["number"], found["marks"])
    if found["word"]:
        return f'<mi mathvariant="normal">{escape(found["word"])}</mi>'
    if found["symbol"]:
        return "<mo>∑</mo>" if found["symbol"] == "Σ" else f"<mi>{escape(found['symbol'])}</mi>"
    if found["digits"]:
        return f"<mn>{found['digits']}</mn>"
    sign = {"-": "−"}.get(found[0], found[0])
    return f'<mo stretchy="false">{escape(sign)}</mo>'


def _indexed(letter: str, number: str, marks: str) -> str:
    base = f"<mi>{letter}</mi><mn>{number}</mn>"
    return f"<msubsup>{base}<mo>{'′' * len(marks)}</mo></msubsup>" if marks else f"<msub>{base}</msub>"
