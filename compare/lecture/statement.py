"""What a statement of the lecture is, and what comes of running it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from compare.lecture.runs import RunRefused, Runs

Language = Literal["en", "pt"]
LANGUAGES: tuple[Language, ...] = ("en", "pt")
Verdict = Literal["right", "slip", "broken"]


@dataclass(frozen=True)
class Text:
    """The same said in English and in Portuguese."""

    en: str
    pt: str

    def __getitem__(self, language: Language) -> str:
        """The text in one language."""
        return self.en if language == "en" else self.pt

    def __add__(self, other: Text) -> Text:
        return Text(self.en + other.en, self.pt + other.pt)


def same(text: str) -> Text:
    """A text that is the same in both languages, such as a formula or a number."""
    return Text(text, text)


NONE = same("")


def in_words(verdict: str) -> Text:
    """The verdict on the gradients of a training run."""
    portuguese = {"equal bit for bit": "iguais bit a bit", "within the noise floor": "iguais a menos de arredondamento"}
    return Text(verdict, portuguese.get(verdict, verdict))


@dataclass(frozen=True)
class Claim:
    """One thing that a statement says. `holds` is computed, `should` is what the close reading of the print expects.

    A claim that should not hold, and does not, is a slip of the print; where the two differ, something is broken.
    """

    what: Text
    holds: bool
    should: bool = True
    tex: str = ""
    note: Text = NONE  # numbers, or what is there instead
    evidence: Text = NONE  # how it was found out

    @property
    def as_expected(self) -> bool:
        """Whether the computation finds what the close reading says."""
        return self.holds == self.should


@dataclass(frozen=True)
class Table:
    """Numbers to be shown: a caption, column titles, rows of cells."""

    caption: Text
    head: tuple[Text, ...]
    rows: tuple[tuple[str | Text, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A drawing: `draw(axes_of_matplotlib_figure, language)` fills a matplotlib figure when it is shown."""

    name: str
    caption: Text
    alt: Text
    draw: Callable[[Any, Language], None]
    size: tuple[float, float] = (7.0, 3.2)  # inches


@dataclass(frozen=True)
class Outcome:
    """What running a statement found."""

    claims: tuple[Claim, ...]
    note: Text  # one line for the table
    reasoning: tuple[Text, ...] = ()  # paragraphs with the numbers of this run
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Broken where one claim is not as expected; slip where the print is wrong as expected; else right."""
        if not self.claims or not all(claim.as_expected for claim in self.claims):
            return "broken"
        return "right" if all(claim.should for claim in self.claims) else "slip"


@dataclass(frozen=True)
class Statement:
    """A statement of the lecture: what it says, the formulas that say it, and how it is judged."""

    name: str  # as `manualbp lecture NAME` takes it
    label: Text  # as the lecture calls it
    title: Text
    tex: tuple[str, ...]  # as printed
    text: tuple[Text, ...]  # what it means, what is right and what is a slip; paragraphs
    formulas: tuple[Callable[..., Any], ...]
    judge: Callable[[Runs], Outcome]
    corrected: tuple[str, ...] = ()  # as it must read, where the print slips
    where: Text = NONE  # where it holds

    @property
    def heading(self) -> Text:
        """(4) delta of a hidden layer; Figure 1: the network and its shapes."""
        return self.label + same(" " if self.label.en.startswith("(") else ": ") + self.title

    def run(self, runs: Runs) -> Outcome:
        """Judge. A formula that cannot even be evaluated is a broken claim, not an error of the whole table."""
        try:
            return self.judge(runs)
        except RunRefused:
            raise
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            said = same(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
            return Outcome((Claim(Text("can be evaluated", "pode ser avaliada"), holds=False, note=said),), said)


def failures(outcome: Outcome, language: Language) -> str:
    """What is not as expected, in one line."""
    bad = [c for c in outcome.claims if not c.as_expected]
    verb = {True: Text("holds", "vale"), False: Text("fails", "falha")}
    return "; ".join(
        f"{c.what[language]}: {verb[c.holds][language]}" + (f" ({c.note[language]})" if c.note[language] else "")
        for c in bad
    )
