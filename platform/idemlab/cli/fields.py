"""Translates messages: other packages name the fields of calls and files, which become options here.

`resume`                    --resume
`jobs = 1`                  --jobs 1
`optimizer.clip = 1.0`      --set optimizer.clip=1.0
set optimizer.clip = 1.0    --set optimizer.clip=1.0
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import IdemlabError

__all__ = ["as_typed"]

_FIELD = re.compile(
    r"`(?P<quoted>[a-z]\w*(?:\.\w+)*)(?: ?= ?(?P<quoted_value>[^`]+))?`"
    r"|(?<![\w-])set (?P<plain>[a-z]\w*(?:\.\w+)+) ?= ?(?P<plain_value>\"[^\"]*\"|\[[^]]*\]|[^\s,;]*[^\s,;.])"
)


def as_typed(error: IdemlabError, options: Iterable[str]) -> IdemlabError:
    """The same error, with the options of the command line in place of fields.

    Args:
        options: the options of the command, such as ``--allow-changes``.
    """
    fields = {option.lstrip("-").replace("-", "_"): option for option in options}

    def typed(found: re.Match[str]) -> str:
        key, value = found["quoted"] or found["plain"], found["quoted_value"] or found["plain_value"]
        if value is not None and "." in key and "--set" in fields.values():
            return f"--set {key}={value}" if " " not in value else f"--set '{key}={value}'"
        if key not in fields:
            return found[0]
        return fields[key] if value is None else f"{fields[key]} {value}"

    def told(text: str | None) -> str | None:
        return None if text is None else _FIELD.sub(typed, text)

    error.what = told(error.what) or ""
    where = error.where or ""
    first = where.partition(",")[0]
    error.where = where.replace(first, fields[first], 1) if first in fields else told(error.where)
    error.expected, error.next_step = told(error.expected), told(error.next_step)
    error.choices = tuple(told(choice) or "" for choice in error.choices)
    return error
