"""Sphinx: `make docs` writes docs/_build/html. Every warning is an error there."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from typing import Any

project = "manualbp"
author = "the authors of manualbp"
release = version = version_of("manualbp")
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {
    "description": "Is the backpropagation that you derived by hand right?",
    "fixed_sidebar": True,
    "show_powered_by": False,
    "page_width": "1040px",
    "link": "#00558a",
    "gray_1": "#555555",
}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}
html_show_copyright = False
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]  # output in a block of another language
autodoc_member_order = "bysource"
autodoc_typehints = "signature"


def _plain(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings here are plain text with `code`: what reStructuredText would take for markup is escaped."""
    code = re.compile(r"(`[^`]+`)")
    for i, line in enumerate(lines):
        parts = code.split(line)
        lines[i] = "".join(
            f"``{part[1:-1]}``" if k % 2 else re.sub(r"([\\*|_`])", r"\\\1", part) for k, part in enumerate(parts)
        )


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _plain)
