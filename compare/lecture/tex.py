"""The few TeX commands of the lecture's formulas, as MathML for the page and as plain text for the terminal.

A formula becomes a tree of nodes (kind, children or text); both outputs are one walk over it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

SYMBOLS = {
    "partial": "∂",
    "delta": "δ",
    "sigma": "σ",
    "alpha": "α",
    "lambda": "λ",
    "ell": "ℓ",
    "circ": "∘",
    "times": "×",
    "cdot": "·",
    "in": "∈",
    "sum": "∑",
    "|": "‖",
}
OPERATORS = set("∘×·∈∑‖∂+-=()[],/<>≤")
BINARY = set("=+−∘×∈·")
SIGN_AFTER = ("=", "(", "[")  # and at the start: a minus there is a sign, not a difference
LETTERS = {("mathbb", "R"): "ℝ", ("mathcal", "N"): "𝒩"}
TOKEN = re.compile(r"\\([A-Za-z]+|.)|([0-9]+(?:\.[0-9]+)?)|(\S)")


@dataclass(frozen=True)
class Node:
    """A row of nodes, a symbol, or a construction such as a fraction."""

    kind: str  # row, letter, number, operator, word, space, fraction, above, sup, sub, brace
    text: str = ""
    parts: tuple[Node, ...] = ()


def parse(tex: str) -> Node:
    """The tree of a formula. Raises ValueError for a command that is not known."""
    tokens = [m.group(0) for m in TOKEN.finditer(tex)]
    row, rest = _row(tokens, 0)
    if rest != len(tokens):
        raise ValueError(f"formula {tex!r}: a closing brace without an opening one")
    return row


def _row(tokens: list[str], at: int) -> tuple[Node, int]:
    parts: list[Node] = []
    while at < len(tokens) and tokens[at] != "}":
        if tokens[at] in ("^", "_") and parts:
            kind = "sup" if tokens[at] == "^" else "sub"
            script, at = _atom(tokens, at + 1)
            parts.append(Node(kind, parts=(parts.pop(), script)))
        elif tokens[at] == "'" and parts:
            parts.append(Node("sup", parts=(parts.pop(), Node("operator", "′"))))
            at += 1
        else:
            atom, at = _atom(tokens, at)
            parts.append(atom)
    return Node("row", parts=tuple(parts)), at


def _atom(tokens: list[str], at: int) -> tuple[Node, int]:
    token = tokens[at]
    at += 1
    if token == "{":
        row, at = _row(tokens, at)
        return row, at + 1
    if not token.startswith("\\"):
        kind = "number" if token[0].isdigit() else "operator" if token in OPERATORS else "letter"
        return Node(kind, "−" if token == "-" else token), at
    name = token[1:]
    if name in SYMBOLS:
        text = SYMBOLS[name]
        return Node("operator" if text in OPERATORS else "letter", text), at
    if name == "log":
        return Node("word", "log"), at
    if name == "quad":
        return Node("space"), at
    if name == "frac":
        above, at = _atom(tokens, at)
        below, at = _atom(tokens, at)
        return Node("fraction", parts=(above, below)), at
    if name in ("hat", "underbrace", "mathrm", "mathbb", "mathcal"):
        inner, at = _atom(tokens, at)
        if name == "hat":
            return Node("above", "^", (inner,)), at
        if name == "underbrace":
            return Node("brace", parts=(inner,)), at
        letters = "".join(part.text for part in inner.parts)
        return Node("word" if name == "mathrm" else "letter", LETTERS.get((name, letters), letters)), at
    raise ValueError(f"formula: no command \\{name}; there are {', '.join(SYMBOLS)}, frac, hat, log, underbrace")


# ------------------------------------------------------------------------------------------------------ MathML


def mathml(tex: str) -> str:
    """A formula as a MathML element, with its plain text for readers that know no MathML."""
    said = escape(plain(tex), quote=True)
    return f'<math display="block" aria-label="{said}">{_markup(parse(tex))}</math>'


def _markup(node: Node) -> str:
    inner = [_markup(part) for part in node.parts]
    if node.kind == "row":
        for i, part in enumerate(node.parts):
            before = node.parts[i - 1].text if i else "="
            if part.text == "−" and before in SIGN_AFTER:
                inner[i] = '<mo form="prefix">−</mo>'
            if part.kind == "fraction" and i and node.parts[i - 1].kind == "fraction":
                inner[i] = f'<mspace width="0.2em"/>{inner[i]}'
        return f"<mrow>{''.join(inner)}</mrow>"
    if node.kind == "fraction":
        return f"<mfrac>{''.join(inner)}</mfrac>"
    if node.kind == "above":
        return f'<mover accent="true">{inner[0]}<mo>^</mo></mover>'
    if node.kind == "brace":
        return f'<mrow class="brace">{inner[0]}</mrow>'  # a line: few fonts have a brace that stretches
    if node.kind == "sup" and node.parts[0].kind == "sub" and node.parts[0].parts[0].text != "∑":
        base, below = (_markup(part) for part in node.parts[0].parts)
        return f"<msubsup>{base}{below}{inner[1]}</msubsup>"
    if node.kind == "sup" and node.parts[1].text == "′":  # text fonts raise it themselves, and most are no math fonts
        return f'<mrow>{inner[0]}<mo class="prime" lspace="0" rspace="0">′</mo></mrow>'
    if node.kind in ("sup", "sub"):
        under = node.parts[0].kind == "brace" or node.parts[0].text == "∑"
        tag = "munder" if under and node.kind == "sub" else f"m{node.kind}"
        return f"<{tag}>{''.join(inner)}</{tag}>"
    if node.kind == "space":
        return '<mspace width="1.5em"/>'
    text = escape(node.text)
    if node.kind == "word":
        space = '<mspace width="0.17em"/>'
        return f'<mrow>{space}<mi mathvariant="normal">{text}</mi>{space}</mrow>'
    if node.kind == "operator":
        plain_bar = ' stretchy="false"' if node.text in "()[]‖" else ""
        tight = ' lspace="0" rspace="0"' if node.text in "∂′[]" else ""
        return f"<mo{plain_bar}{tight}>{text}</mo>"
    return f"<{'mn' if node.kind == 'number' else 'mi'}>{text}</{'mn' if node.kind == 'number' else 'mi'}>"


# -------------------------------------------------------------------------------------------------- plain text


def plain(tex: str) -> str:
    """A formula in one line of Unicode text."""
    return re.sub(r"\s+", " ", _words(parse(tex))).strip()


def _words(node: Node) -> str:
    if node.kind == "row":
        return _row_words(node.parts)
    inner = [_words(part) for part in node.parts]
    if node.kind == "fraction":
        return "/".join(f"({x})" if " " in x else x for x in inner)
    if node.kind == "above":
        return f"{inner[0]}̂"
    if node.kind == "brace":
        return inner[0]
    if node.kind == "sub":
        return f"{inner[0]} <{inner[1]}>" if node.parts[0].kind == "brace" else f"{inner[0]}_{inner[1]}"
    if node.kind == "sup":
        script = inner[1].replace(" ", "")
        layer, bracket, rest = script.partition("]")
        if script == "′":
            return f"{inner[0]}′"
        if bracket:
            return f"{inner[0]}{layer}]{'^' + rest if rest else ''}"
        return f"{inner[0]}^{script if len(script) == 1 else f'({script})'}"
    return " " if node.kind == "space" else node.text


def _row_words(parts: tuple[Node, ...]) -> str:
    text = ""
    for before, part, after in zip((None, *parts), parts, (*parts[1:], None), strict=False):
        said = _words(part)
        if part.text in BINARY:
            sign = part.text == "−" and (before is None or before.text in SIGN_AFTER)
            text += said if sign else f" {said} "
            continue
        factor = after is not None and after.text not in BINARY | set(")]")
        if part.kind == "fraction" and not said.startswith(("∂", "d")) and (factor or " " in said):
            said = f"({said})"  # a number times what follows
        close = not text or text[-1] in " ([−" or part.text in (")", "]", ",")
        if before is not None and not close and (_loose(before) or _loose(part)):
            text += " "
        text += f"{said} " if part.text == "," else said
    return text


def _loose(node: Node) -> bool:
    """Whether it needs a space between itself and its neighbours."""
    if node.kind == "sup":
        return node.parts[1].text == "T" or any(part.text == "T" for part in node.parts[1].parts)
    if node.kind == "sub":
        return node.parts[0].kind == "brace" or node.parts[0].text == "∑"
    return node.kind in ("fraction", "word")
