"""The lecture, executed: nothing of it is missing, every verdict is as it should be, and a broken formula shows."""

from __future__ import annotations

import functools
import inspect
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from compare import cli
from compare.lecture import experiments, formulas, hidden_delta, page, table, terminal, tex
from compare.lecture import map as lecture_map
from compare.lecture.runs import Runs
from compare.lecture.statement import LANGUAGES, Claim, Outcome, Statement, Text, same
from compare.lecture.table import STATEMENTS, Judged

# The lecture's own contents: every numbered equation, figure, section that does something, and exercise; and between
# them the formulas without a number.
CONTENTS = {
    *(f"eq-{number}" for number in range(1, 15)),
    *("figure-1", "figure-2"),
    *("section-2.1", "section-3", "section-4"),
    *(f"exercise-{number}" for number in range(1, 5)),
    *("after-11", "l2-cost", "l2-gradient", "l2-update"),
}
# What a close reading finds wrong in print. All else is right.
SLIPS = {"eq-4", "eq-9", "eq-11", "eq-12", "eq-13", "after-11", "figure-1", "exercise-2"}

SHEETS = (formulas, experiments)
ALL_FORMULAS = [(statement, formula) for statement in STATEMENTS for formula in statement.formulas]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Training runs, done once: none of them depends on a formula of the lecture's sheets."""
    return Runs()


@pytest.fixture(scope="module")
def executed(runs: Runs) -> dict[str, tuple[Outcome, set[str]]]:
    """Every statement's outcome, and the formulas that were called while it was judged."""
    called: set[str] = set()

    def recording(formula: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(formula)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            called.add(formula.__name__)
            return formula(*args, **kwargs)

        return recorded

    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for sheet in SHEETS:
            for name, formula in sheet_formulas(sheet).items():
                patch.setattr(sheet, name, recording(formula))
        for statement in STATEMENTS:
            called.clear()
            outcome = statement.run(runs)
            found[statement.name] = (outcome, set(called))
    return found


def sheet_formulas(sheet: Any) -> dict[str, Callable[..., Any]]:
    return {name: f for name, f in vars(sheet).items() if inspect.isfunction(f) and f.__module__ == sheet.__name__}


@pytest.fixture(scope="module")
def judged(executed: dict[str, tuple[Outcome, set[str]]]) -> list[Judged]:
    return [Judged(statement, executed[statement.name][0]) for statement in STATEMENTS]


def test_nothing_is_missing() -> None:
    names = [statement.name for statement in STATEMENTS]
    assert set(names) == CONTENTS
    assert len(names) == len(CONTENTS) == len(table.BY_NAME)


@pytest.mark.parametrize("name", [statement.name for statement in STATEMENTS])
def test_verdict(name: str, executed: dict[str, tuple[Outcome, set[str]]]) -> None:
    outcome, _ = executed[name]
    expected = "slip" if name in SLIPS else "right"
    assert outcome.verdict == expected, [c for c in outcome.claims if not c.as_expected]
    if expected == "slip":
        assert table.BY_NAME[name].corrected


def test_formulas_are_apart(executed: dict[str, tuple[Outcome, set[str]]]) -> None:
    """A formula is called by its own statement, and by no other: what breaks it turns no other row red."""
    for statement in STATEMENTS:
        assert executed[statement.name][1] == {formula.__name__ for formula in statement.formulas}, statement.name


def test_every_formula_belongs_to_a_statement() -> None:
    on_sheets = [name for sheet in SHEETS for name in sheet_formulas(sheet)]
    assert sorted(on_sheets) == sorted(formula.__name__ for _, formula in ALL_FORMULAS)


@pytest.mark.parametrize(
    ("statement", "formula"), ALL_FORMULAS, ids=[f"{s.name}-{formula.__name__}" for s, formula in ALL_FORMULAS]
)
def test_broken_formula(
    statement: Statement, formula: Callable[..., Any], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    @functools.wraps(formula)
    def broken(*args: Any, **kwargs: Any) -> Any:
        return formula(*args, **kwargs) * 1.5

    sheet = next(sheet for sheet in SHEETS if formula.__module__ == sheet.__name__)
    monkeypatch.setattr(sheet, formula.__name__, broken)
    assert statement.run(runs).verdict == "broken"


def test_a_formula_that_cannot_be_evaluated_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> Any:
        raise TypeError("no such product")

    monkeypatch.setattr(formulas, "weight_update", fails)
    outcome = table.find("eq-1").run(Runs())
    assert outcome.verdict == "broken"
    assert "no such product" in outcome.note.en


# ------------------------------------------------------------------------------------------------- single findings


def test_eq_4_has_a_counterexample_of_at_most_2_x_2_numbers() -> None:
    found = hidden_delta.smallest_counterexample()
    assert found is not None
    W, delta_next, printed, truth = found
    assert max(W.shape) <= 2
    assert printed.numel() != truth.numel() or not torch.equal(printed.flatten(), truth.flatten())
    corrected = formulas.hidden_delta(W, delta_next, torch.full((W.shape[1], 1), 0.25, dtype=torch.float64))
    assert torch.equal(corrected, truth)


def test_eq_4_is_wrong_in_general_and_right_with_one_unit_above(
    executed: dict[str, tuple[Outcome, set[str]]],
) -> None:
    holds = {claim.what.en: claim.holds for claim in executed["eq-4"][0].claims}
    assert holds["as printed, one unit in layer l+1"]
    assert not holds["as printed, two units in layer l+1"]
    assert all(found for what, found in holds.items() if what.startswith("corrected"))


@pytest.mark.parametrize("name", ["eq-3", "eq-9", "eq-11", "eq-12", "eq-14", "l2-update"])
def test_is_proved(name: str, executed: dict[str, tuple[Outcome, set[str]]]) -> None:
    assert any(c.holds and "proved symbolically" in c.evidence.en for c in executed[name][0].claims)


def test_a_verdict_needs_every_claim() -> None:
    right, slip = Claim(same("a"), True), Claim(same("b"), False, should=False)
    surprise = Claim(same("c"), True, should=False)
    assert Outcome((right,), same("")).verdict == "right"
    assert Outcome((right, slip), same("")).verdict == "slip"
    assert Outcome((right, slip, surprise), same("")).verdict == "broken"  # a slip that is none any more
    assert Outcome((), same("")).verdict == "broken"


def test_runs_are_kept_for_tensorboard(tmp_path: Path) -> None:
    kept = Runs(tmp_path)
    assert table.find("exercise-3").run(kept).verdict == "right"
    assert (tmp_path / "lecture-exercise-3" / "metrics.jsonl").is_file()
    again = table.find("exercise-3").run(Runs(tmp_path))  # the name is taken
    assert "exists already" in again.note.en


# -------------------------------------------------------------------------------------------- terminal and command


@pytest.mark.parametrize("language", LANGUAGES)
def test_table_fits_80_columns(language: Any, judged: list[Judged], capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    terminal.show_all(Console(width=80, highlight=False, markup=False), judged, language)
    for each in judged:
        terminal.show_one(Console(width=80, highlight=False, markup=False), each, language)
    out = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    assert all(re.search(rf"^ ?{re.escape(name)} ", out, re.MULTILINE) for name in CONTENTS)


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


@pytest.mark.parametrize("language", LANGUAGES)
def test_page(language: Any, judged: list[Judged]) -> None:
    html = page.render(judged, language)
    assert not re.search(r"<script|<link|<img|src=|@import", html)
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", html))
    assert all("w3.org" in a or "matplotlib.org" in a or "purl.org" in a or "creativecommons" in a for a in addresses)
    for statement in STATEMENTS:
        assert f'id="{statement.name}"' in html
    figures = sum(len(each.outcome.figures) for each in judged)
    assert figures >= 6
    assert html.count('<svg role="img" aria-label="') == html.count("<figcaption>") == figures
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_page_is_the_same_for_the_same_numbers(judged: list[Judged]) -> None:
    some = [each for each in judged if each.statement.name in ("figure-1", "figure-2")]
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


def test_formulas_are_well_formed(judged: list[Judged]) -> None:
    children = {"msup": 2, "msub": 2, "mfrac": 2, "munder": 2, "mover": 2, "msubsup": 3}
    shown = {t for each in judged for t in (*each.statement.tex, *each.statement.corrected)}
    shown |= {claim.tex for each in judged for claim in each.outcome.claims if claim.tex}
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
        "δ[ℓ] = (W[ℓ+1]^Tδ[ℓ+1]) ∘ σ′(z[ℓ])"
    )


def test_texts_are_in_both_languages(judged: list[Judged]) -> None:
    for each in judged:
        for text in (each.statement.title, *each.statement.text, each.outcome.note):
            assert text.en
            assert text.pt
            assert isinstance(text, Text)
            assert text.en != text.pt


def test_map_is_up_to_date() -> None:
    path = lecture_map.ROOT / "docs" / "lecture.md"
    assert path.read_text(encoding="utf-8") == lecture_map.markdown(), "python -m compare.lecture.map > docs/lecture.md"
