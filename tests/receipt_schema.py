"""receipt.json against its one schema, `download.cache.receipts.Receipt`."""

from __future__ import annotations

import types
import typing

from fmnist_tfds.download.cache import receipts


def check(receipt):
    """Fails where a field is missing, unknown or of another type."""
    _check(receipt, receipts.Receipt, "receipt")
    assert receipt["format"] == 1


def _check(value, hint, where):
    if typing.is_typeddict(hint):
        fields = typing.get_type_hints(hint)
        assert value.keys() <= fields.keys(), where
        assert value.keys() >= hint.__required_keys__, where
        for key, inner in value.items():
            _check(inner, fields[key], f"{where}.{key}")
    elif isinstance(hint, types.UnionType):
        allowed = tuple(typing.get_args(hint))
        assert isinstance(value, allowed), f"{where}: {value!r}"
    elif typing.get_origin(hint) is dict:
        for key, inner in value.items():
            _check(inner, typing.get_args(hint)[1], f"{where}[{key!r}]")
    elif typing.get_origin(hint) is list:
        for inner in value:
            _check(inner, typing.get_args(hint)[0], f"{where}[]")
    elif hint is not typing.Any:
        assert isinstance(value, hint), f"{where}: {value!r}"
