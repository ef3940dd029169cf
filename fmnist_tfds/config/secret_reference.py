"""References to secrets ("env:NAME", "file:path") and what the text of a secret may hold. Pure."""

from __future__ import annotations

import unicodedata


def is_one_line(text: str) -> bool:
    """True if `text` holds no control character, line separator or undecodable byte."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def is_reference(value: str) -> bool:
    """True for "env:NAME" and "file:path": what it stands for is a secret."""
    return value.startswith(("env:", "file:"))
