"""The lecture as one self-contained page: formulas as MathML, figures as SVG, no script, nothing from the network."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from compare.lecture.statement import Figure, Language, Text, failures
from compare.lecture.table import Judged
from compare.lecture.terminal import CLAIMS, VERDICTS, claim_verdict, greek, total
from compare.lecture.tex import mathml

# Symbols of the running text that are set as superscripts: W[2], dz[3]/da[2], a[l-1]^T, e^z.
LAYER = re.compile(r"(?<![^\W_])(dJ/d[Wbz]|d[Wbza]|[WbzaJ]|δ)\[([^\]\s]{1,3})\](\^T)?|(?<=[\w)])\^(-?\w+)")
INDEX = re.compile(r"\b([WJδ])_(\w+)")
MINUS = re.compile(r"(?<![\w\])])-(?=[\d(])|(?<=[\w\])] )-(?= (?:[\w(]\b|[\w(]?[\[(]|α|λ|σ|δ|dJ))")
SIGNS = {"right": "✓", "slip": "✎", "broken": "✗"}


def write(path: Path, judged: Sequence[Judged], language: Language) -> None:
    """Write the page. Raises ValueError where the file cannot be written."""
    try:
        path.write_text(render(judged, language), encoding="utf-8", newline="\n")
    except OSError as error:
        raise ValueError(f"--report {path}: cannot be written ({error.strerror}); choose another file") from None


def render(judged: Sequence[Judged], language: Language) -> str:
    """The whole page as HTML."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "said": lambda text: words(text, language),
        "math": lambda tex: Markup(mathml(tex)),
        "svg": lambda figure: Markup(svg(figure, language)),
        "heading": lambda statement: words(statement.heading, language),
        "verdict": lambda claim: claim_verdict(claim),
        "failures": lambda outcome: failures(outcome, language),
    }
    template = resources.files("compare.lecture").joinpath("page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        judged=judged,
        language=language,
        verdicts=VERDICTS,
        claims=CLAIMS,
        signs=SIGNS,
        total=total(judged, language),
        ui=UI,
    )


def words(text: Text | str, language: Language) -> Markup:
    """A sentence with its symbols set: δ, σ′, superscripts of layers, the transposed sign."""
    plain = MINUS.sub("−", escape(greek(text if isinstance(text, str) else text[language]), quote=False))

    def superscript(found: re.Match[str]) -> str:
        symbol, layer, transposed, power = found.groups()
        if power:
            return f"<sup>{power}</sup>"
        return f"{symbol}<sup>[{layer}]{'T' if transposed else ''}</sup>"

    return Markup(INDEX.sub(r"\1<sub>\2</sub>", LAYER.sub(superscript, plain)))


@functools.cache
def _matplotlib() -> object:
    import matplotlib

    matplotlib.use("Agg")
    return matplotlib


def svg(figure: Figure, language: Language) -> str:
    """A figure as an SVG element, described for those who do not see it; the same numbers give the same text."""
    _matplotlib()
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context({"svg.hashsalt": figure.name, "font.family": "DejaVu Sans"}):
        canvas = Canvas(figsize=figure.size)
        figure.draw(canvas, language)
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # ids are made unique: several figures share one document
    text = re.sub(r'(id="|xlink:href="#|url\(#)', rf"\g<1>{figure.name}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    label = escape(figure.alt[language], quote=True)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


UI: dict[str, Text] = {
    "title": Text("The lecture, executed", "A aula, executada"),
    "lead": Text(
        "“Aula 9 - Redes Neurais - Treinamento” by Raoni F. S. Teixeira derives backpropagation and trains networks "
        "with it. On this page each of its statements has been run: formulas were held against autograd and proved "
        "with symbols, sections and exercises were carried out on data. Every verdict and number below comes from "
        "that run.",
        "“Aula 9 - Redes Neurais - Treinamento”, de Raoni F. S. Teixeira, deduz a retropropagação e treina redes "
        "com ela. "
        "Nesta página cada um dos seus enunciados foi executado: as fórmulas foram confrontadas com o autograd e "
        "provadas com símbolos, as seções e os exercícios foram realizados com dados. Todo veredicto e todo número "
        "abaixo vem dessa execução.",
    ),
    "right": Text("holds as printed.", "vale como impresso."),
    "slip": Text(
        "the print differs from what is meant; the slip is confirmed by computation, and the corrected form holds.",
        "o impresso difere do que se quer dizer; o lapso é confirmado por cálculo, e a forma corrigida vale.",
    ),
    "broken": Text(
        "the computation found something else than expected: an error of this program, or a new finding.",
        "o cálculo achou algo diferente do esperado: um erro deste programa, ou uma descoberta.",
    ),
    "notation": Text(
        "Notation: layers are counted from the input, which is layer 1; vectors are columns; ∘ multiplies element by "
        "element; σ is the sigmoid, α the learning rate, δ the derivative of the cost J with respect to a "
        "pre-activation z. Matrices in numbers are written in one line, a semicolon before each new row: (1 2; 3 4); "
        "so (1; 2) is a column.",
        "Notação: as camadas contam-se a partir da entrada, que é a camada 1; os vetores são colunas; ∘ multiplica "
        "elemento a elemento; σ é a sigmoide, α a taxa de aprendizado, δ a derivada do custo J em relação a uma "
        "pré-ativação z. Matrizes de números são escritas numa só linha, com ponto e vírgula antes de cada nova linha: "
        "(1 2; 3 4); assim, (1; 2) é uma coluna. Como na aula, o ponto separa os decimais.",
    ),
    "where": Text("Where it holds", "Onde vale"),
    "contents": Text("All statements", "Todos os enunciados"),
    "statement": Text("statement", "enunciado"),
    "verdict": Text("verdict", "veredicto"),
    "note": Text("note", "nota"),
    "printed": Text("As printed", "Como impresso"),
    "corrected": Text("As it must read", "Como deve ser"),
    "claims": Text("What was checked", "O que foi verificado"),
    "claim": Text("claim", "afirmação"),
    "formula": Text("formula", "fórmula"),
    "found": Text("found", "encontrado"),
    "top": Text("back to the table", "voltar à tabela"),
}
