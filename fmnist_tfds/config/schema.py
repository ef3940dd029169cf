"""Checks a table of the TOML file against a dataclass: names, types, ranges. Pure.

Messages show no value except a number out of range: any other may be a secret in the wrong place.
"""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fmnist_tfds import errors

Error = Callable[[str, str], errors.ConfigError]

_TYPE_NAMES = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a table",
    list: "an array of tables, [[…]]",
}


def positive(default: float) -> Any:
    """A field whose value is a number above 0."""
    return dataclasses.field(default=default, metadata={"above": 0})


def not_negative(default: float) -> Any:
    """A field whose value is a number of at least 0."""
    return dataclasses.field(default=default, metadata={"at_least": 0})


def fraction(default: float) -> Any:
    """A field whose value is a number of at least 0 and below 1."""
    return dataclasses.field(default=default, metadata={"at_least": 0, "below": 1})


def one_of(default: str, choices: Iterable[str]) -> Any:
    """A field whose value is one of some words that no `Literal` can list."""
    return dataclasses.field(default=default, metadata={"choices": tuple(choices)})


def check(
    table: Any, schema: type, where: str, error: Error, *, keys: Iterable[str] | None = None
) -> dict[str, Any]:
    """A copy of `table`, every key of it a field of `schema` and every value of its type and range.

    Args:
        table: as read from the file.
        schema: a dataclass; a path stands as a string in the file, a dataclass as a table.
        where: the table's name in messages; "" for the top level.
        error: makes the exception of a message and a hint.
        keys: the fields that are allowed; None for all.

    Raises:
        ConfigError: made by `error`; it names the key, and the nearest valid one.
    """
    if not isinstance(table, dict):
        raise error(f"{where}: expected a table, got {kind_of(table)}", "")
    hints = typing.get_type_hints(schema)
    fields = {field.name: field for field in dataclasses.fields(schema)}
    valid = list(fields if keys is None else keys)
    for key, value in table.items():
        if key not in valid:
            raise error(
                f"unknown key {key!r} in {where or 'the top level'}",
                f"the nearest valid key is {nearest(key, valid)!r}",
            )
        place = f"{where}.{key}" if where else key
        if problem := _problem(value, hints[key], fields[key].metadata):
            raise error(f"{place}: {problem}", "")
    return dict(table)


def kind_of(value: object) -> str:
    """What a TOML value is, without the value."""
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a string"}
    return kinds.get(type(value), "a table" if isinstance(value, dict) else "an array")


def nearest(word: str, valid: Iterable[str]) -> str:
    """The valid word most like `word`."""
    return difflib.get_close_matches(word, list(valid), n=1, cutoff=0.0)[0]


def _problem(value: Any, hint: Any, metadata: Mapping[str, Any]) -> str:
    wanted = _toml_type(hint)
    is_right = isinstance(value, (int, float) if wanted is float else wanted)
    if not is_right or (isinstance(value, bool) and wanted is not bool):
        is_plain = wanted is list and typing.get_args(hint) == (str,)
        name = "an array" if is_plain else _TYPE_NAMES[wanted]
        return f"expected {name}, got {kind_of(value)}"
    choices = metadata.get("choices") or _choices(hint)
    if choices and value not in choices:
        return f"expected one of {', '.join(choices)}; got something else"
    if "above" in metadata and not value > metadata["above"]:
        return f"expected more than {metadata['above']}, got {value}"
    if "at_least" in metadata and not value >= metadata["at_least"]:
        return f"expected at least {metadata['at_least']}, got {value}"
    if "below" in metadata and not value < metadata["below"]:
        return f"expected less than {metadata['below']}, got {value}"
    return ""


def _choices(hint: Any) -> tuple[str, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def _toml_type(hint: Any) -> type:
    """What TOML writes for a field of that type."""
    if isinstance(hint, types.UnionType):  # "X | None": TOML has no null
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    if hint is pathlib.Path or _choices(hint):
        return str
    if typing.get_origin(hint) is tuple or dataclasses.is_dataclass(hint):
        return dict  # pairs stand as a table
    return typing.get_origin(hint) or typing.cast(type, hint)
