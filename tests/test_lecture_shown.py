"""The lecture on the terminal, on its page and in the docs: complete, readable, in both languages."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from compare import cli
from compare.lecture import formulas, page, terminal, tex
from compare.lecture import map as lecture_map
from compare.lecture.statement import LANGUAGES, Text
from compare.lecture.table import ORDER, STATEMENTS
from tests.lecture_run import judged

pytestmark = pytest.mark.xdist_group("lecture")  # it is run once, not by each process


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_table_fits_80_columns(language: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    terminal.show_all(Console(width=80, highlight=False, markup=False), judged(), language)
    for each in judged():
        terminal.show_one(Console(width=80, highlight=False, markup=False), each, language)
    out = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    assert all(re.search(rf"^ ?{re.escape(name)} ", out, re.MULTILINE) for name in ORDER)


def test_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "one.html"
    assert cli.main(["lecture", "(1)", "--lang", "pt", "--report", str(path)]) == 0
    assert "certo" in capsys.readouterr().out
    assert "<math" in path.read_text(encoding="utf-8")
    monkeypatch.setattr(formulas, "bias_update", lambda b, db, lr: b + lr * db)
    assert cli.main(["lecture", "eq-1"]) == 1
    assert "BROKEN" in capsys.readouterr().out


def test_command_refuses_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["lecture", "eq-41"]) == 2
    assert "did you mean eq-4" in capsys.readouterr().err
    assert cli.main(["lecture", "eq-1", "--report", str(tmp_path / "none" / "x.html")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# --------------------------------------------------------------------------------------------------- page and docs


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_page(language: Any) -> None:
    html = page.render(judged(), language)
    assert not re.search(r"<script|<link|<img|src=|@import", html)
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", html))
    assert all("w3.org" in a or "matplotlib.org" in a or "purl.org" in a or "creativecommons" in a for a in addresses)
    for statement in STATEMENTS:
        assert f'id="{statement.name}"' in html
    figures = sum(len(each.outcome.figures) for each in judged())
    assert figures == 5  # Figure 1, section 3, section 4, Figure 2, exercise 1
    assert html.count('<svg role="img" aria-label="') == html.count("<figcaption>") == figures
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


class Addresses(HTMLParser):
    """Every address in attributes and styles, but for names of namespaces."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "xlink:href", "src", "srcset", "action", "data", "poster"):
                self.found.append(value or "")
            elif not name.startswith("xmlns"):
                self.found += re.findall(r"url\((.*?)\)", value or "")


@pytest.mark.slow
def test_page_asks_the_network_for_nothing() -> None:
    html = page.render(judged(), "en")
    addresses = Addresses()
    addresses.feed(html)
    assert addresses.found
    assert all(address.startswith("#") for address in addresses.found)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.slow
def test_page_is_the_same_for_the_same_numbers() -> None:
    some = [each for each in judged() if each.statement.name in ("figure-1", "figure-2")]
    assert page.render(some, "en") == page.render(some, "en")


def test_colours_can_be_read() -> None:
    """At least 4.5 : 1 on the page's backgrounds (WCAG AA)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    template = (Path(page.__file__).parent / "page.html.jinja").read_text(encoding="utf-8")
    texts = re.findall(r"--(?:ink|soft|right|slip|broken): (#\w{6})", template)
    assert len(texts) == 5
    for colour in texts:
        for background in ("#ffffff", "#f6f5f1", "#eef4ee"):
            assert (luminance(background) + 0.05) / (luminance(colour) + 0.05) >= 4.5


@pytest.mark.slow
def test_formulas_are_well_formed() -> None:
    children = {"msup": 2, "msub": 2, "mfrac": 2, "munder": 2, "mover": 2, "msubsup": 3}
    shown = {t for each in judged() for t in (*each.statement.tex, *each.statement.corrected)}
    shown |= {claim.tex for each in judged() for claim in each.outcome.claims if claim.tex}
    for formula in shown:
        for element in ElementTree.fromstring(tex.mathml(formula)).iter():
            assert len(element) == children.get(element.tag, len(element)), formula
        assert "\\" not in tex.plain(formula)


def test_tex_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="no command"):
        tex.mathml(r"\integral x")
    with pytest.raises(ValueError, match="closing brace"):
        tex.mathml("x}")


def test_plain_formulas() -> None:
    assert tex.plain(r"\delta^{[\ell]} = (W^{[\ell+1]T} \delta^{[\ell+1]}) \circ \sigma'(z^{[\ell]})") == (
        "δ[ℓ] = (W[ℓ+1]^T δ[ℓ+1]) ∘ σ′(z[ℓ])"
    )


@pytest.mark.slow
def test_texts_are_in_both_languages() -> None:
    for each in judged():
        statement, outcome = each.statement, each.outcome
        prose = [statement.title, *statement.text, outcome.note, *outcome.reasoning]
        prose += [text for figure in outcome.figures for text in (figure.caption, figure.alt)]
        prose += [table.caption for table in outcome.tables]
        if statement.name.startswith(("eq-", "l2-", "figure-1", "after-")):
            prose.append(statement.where)
        for text in prose:
            assert text.en
            assert text.pt
            assert isinstance(text, Text)
            assert text.en != text.pt
        for claim in outcome.claims:
            assert claim.what.pt
            assert bool(claim.note.en) == bool(claim.note.pt)
            assert bool(claim.evidence.en) == bool(claim.evidence.pt)


def test_map_is_up_to_date() -> None:
    path = lecture_map.ROOT / "docs" / "lecture.md"
    assert path.read_text(encoding="utf-8") == lecture_map.markdown(), "python -m compare.lecture.map > docs/lecture.md"
