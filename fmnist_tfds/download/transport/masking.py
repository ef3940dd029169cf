"""Finds secrets in text from elsewhere, in any encoding. Pure. Imports nothing of ours.

Text and secret are brought to one normal form before they are compared: percent, backslash, JSON
and HTML escapes undone as often as they are nested, white space and "+" dropped, ASCII in lower
case. So repr, quoting, a fold at a line's end and any mixture of them need no form of their own;
what does is listed in `_spellings`: base64, and the ways to read bytes that are not ASCII.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator

HIDDEN = "***"

# Shorter ones ("1", "on") are parts of other words: hidden where they stand as words only.
_LEAST_ANYWHERE = 4
# A server, or a cut, may leave a piece: so many bytes from the beginning, or half, are enough.
_PIECE = 8
_LONGEST_PIECE = 32
_ROUNDS = 4
_ESCAPE = re.compile(
    rb"%(?P<percent>[0-9a-fA-F]{2})|\\x(?P<x>[0-9a-fA-F]{2})|\\u(?P<u>[0-9a-fA-F]{4})"
    rb"|\\U(?P<U>[0-9a-fA-F]{8})|&#(?P<decimal>[0-9]{1,7});|&#[xX](?P<hex>[0-9a-fA-F]{1,6});"
    rb"|&(?P<name>amp|lt|gt|quot|apos);|\\[abfnrtv]|[\x00-\x20+\\]"
)
_NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}
_ESCAPED_END = re.compile(r"(%[0-9a-fA-F]{2}|\\[abfnrtv]|\\x[0-9a-fA-F]{2})$")


class Pattern:
    """One secret, ready to be looked for.

    Args:
        secret: the text; not empty.
        whole: hide it only where it stands whole (or its first 32 bytes), no smaller pieces: for
            what may also be an ordinary word, such as a value in a URL's query.
    """

    def __init__(self, secret: str, *, whole: bool = False) -> None:
        self._is_word = len(secret) < _LEAST_ANYWHERE
        self._pieces: dict[int, set[bytes]] = {}
        for form in set(filter(None, map(bytes, _forms(secret)))):
            half = min(max(_PIECE, (len(form) + 1) // 2), _LONGEST_PIECE)
            size = min(len(form), _LONGEST_PIECE if whole else half)
            pieces = self._pieces.setdefault(size, set())
            pieces |= {form[at : at + size] for at in range(len(form) - size + 1)}
            if not whole and len(form) > _PIECE:
                self._pieces.setdefault(_PIECE, set()).add(form[:_PIECE])

    def spans(self, text: str, normal: Normal) -> Iterator[tuple[int, int]]:
        """Where it stands in `text`, whose normal form is `normal`."""
        for size, pieces in self._pieces.items():
            for at in range(len(normal.data) - size + 1):
                if normal.data[at : at + size] in pieces:
                    span = normal.starts[at], normal.ends[at + size - 1]
                    if not self._is_word or _is_word(text, *span):
                        yield span


class Normal:
    """`text` in normal form; `starts` and `ends` say where in `text` each byte comes from."""

    def __init__(self, text: str | bytes) -> None:
        encoded = [text[i : i + 1] for i in range(len(text))]
        units = [
            (byte, at, at + 1)
            for at, one in enumerate(encoded)
            for byte in (one.encode("utf-8", "surrogatepass") if isinstance(one, str) else one)
        ]
        for _ in range(_ROUNDS):
            before = bytes(byte for byte, _, _ in units)
            units = list(_unescaped(before, units))
            if len(units) == len(before):
                break
        self.data = bytes(byte for byte, _, _ in units).lower()
        self.starts = [start for _, start, _ in units]
        self.ends = [end for _, _, end in units]

    def __bytes__(self) -> bytes:
        return self.data


def mask(text: str, patterns: Iterable[Pattern]) -> str:
    """`text` with `HIDDEN` in the place of everything that one of `patterns` finds."""
    normal = Normal(text)
    spans = sorted(span for pattern in patterns for span in pattern.spans(text, normal))
    kept: list[str] = []
    at = 0
    for start, end in spans:
        if start > at or not kept:
            kept += [text[at:start], HIDDEN]
        at = max(at, end)
    return "".join([*kept, text[at:]])


def _unescaped(data: bytes, units: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    at = 0
    for match in _ESCAPE.finditer(data):
        yield from units[at : match.start()]
        start, end = units[match.start()][1], units[match.end() - 1][2]
        yield from ((byte, start, end) for byte in _meant(match))
        at = match.end()
    yield from units[at:]


def _meant(match: re.Match[bytes]) -> bytes:
    kind, text = match.lastgroup, match.group(match.lastgroup or 0)
    if kind is None:
        return b""
    if kind == "name":
        return _NAMED[text]
    if kind in ("percent", "x"):
        return bytes((int(text, 16),))
    number = int(text, 10 if kind == "decimal" else 16)
    return chr(number).encode("utf-8", "surrogatepass") if number < 0x110000 else b""


def _forms(secret: str) -> Iterator[Normal]:
    for spelling in dict.fromkeys(_spellings(secret)):
        yield Normal(spelling)
    if len(secret) >= _LEAST_ANYWHERE:
        encodings = ("utf-8",) if secret.isascii() else ("utf-8", "latin-1")
        yield from (
            Normal(code) for e in encodings for code in _base64(secret.encode(e, "replace"))
        )


def _spellings(secret: str) -> Iterator[str | bytes]:
    yield secret
    if not secret.isascii():
        utf8, latin1 = secret.encode("utf-8", "replace"), secret.encode("latin-1", "replace")
        misread = utf8.decode("latin-1")  # http.client reads headers so
        yield misread
        yield b"".join(_as_repr_shows(letter) for letter in misread)
        yield latin1
        yield latin1.decode("utf-8", "replace")
        yield json.dumps(secret)[1:-1]  # pairs of surrogates
        yield ascii(secret)[1:-1]


def _as_repr_shows(letter: str) -> bytes:
    """Its bytes, once the escapes are undone: repr writes \\x85 for a letter that is no byte."""
    is_escaped = not letter.isprintable() and ord(letter) < 0x100
    return letter.encode("latin-1" if is_escaped else "utf-8")


def _base64(data: bytes) -> Iterator[bytes]:
    """In both alphabets: alone, and as its whole letters behind 0, 1 or 2 other bytes."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).rstrip(b"=")
        for shift, first in ((0, 0), (1, 2), (2, 3)):
            inner = encode(bytes(shift) + data)[first : (shift + len(data)) // 3 * 4]
            if len(inner) >= _PIECE:
                yield inner


def _is_word(text: str, start: int, end: int) -> bool:
    before, after = text[:start], text[end : end + 1]
    is_begun = not before[-1:].isalnum() or bool(_ESCAPED_END.search(before[-4:]))
    return is_begun and not after.isalnum()
