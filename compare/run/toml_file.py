"""A run's settings as TOML that `tomllib` reads back as they were."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any


def to_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """One TOML table for each item of `tables`.

    Values are strings, paths, integers, floats (not a number and the infinities too), booleans, lists and mappings of
    those. TOML has no null: an option that is None stands there as a comment. Raises `TypeError` for anything else.
    """
    return "\n".join(
        f"[{_key(title)}]\n" + "".join(_line(key, value) for key, value in table.items())
        for title, table in tables.items()
    )


def _line(key: str, value: Any) -> str:
    return f"# {_key(key)} is not set\n" if value is None else f"{_key(key)} = {_value(value)}\n"


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else str(float(value))
    if isinstance(value, str | os.PathLike):
        return _string(os.fspath(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        items = (f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None)
        return f"{{{', '.join(items)}}}"
    raise TypeError(f"a setting must be a string, a number, a boolean, a list or a mapping, got {type(value).__name__}")


def _string(text: str) -> str:
    r"""A basic string: JSON's escapes are TOML's, but for DEL, which JSON leaves as it is and TOML forbids.

    A byte of a path that is no UTF-8 (a lone surrogate in Python) becomes the text `\udcXX`, as TOML cannot hold it.
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
