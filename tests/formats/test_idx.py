"""IDX: every header field and the length are checked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmnist_tfds import errors
from fmnist_tfds.formats import idx


def test_decode_gives_back_what_was_encoded():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(idx.decode(idx.encode(array), (2, 3, 4)), array)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b[:3], "IDX header"),
        (lambda b: b"\x01" + b[1:], "not an IDX file"),
        (lambda b: b[:2] + b"\x0d" + b[3:], "not an IDX file"),
        (lambda b: b[:3] + b"\x01" + b[4:], "labels"),
        (lambda b: b[:7] + b"\x09" + b[8:], "expected dimensions"),
        (lambda b: b[:10], "cut short"),
        (lambda b: b[:-1], "bytes, got"),
        (lambda b: b + b"\0", "bytes, got"),
        (lambda b: b"<!doctype html>" + b, "not an IDX file"),
    ],
)
def test_decode_refuses_what_is_not_as_promised(change, said):
    payload = idx.encode(np.zeros((2, 3, 4), np.uint8))
    with pytest.raises(errors.IdxError, match=said):
        idx.decode(change(payload), (2, 3, 4), name="some file")


@given(st.binary(max_size=64))
def test_decode_of_any_bytes_gives_an_array_or_our_error(data):
    try:
        found = idx.decode(data, (2, 2))
    except errors.IdxError:
        return
    assert idx.encode(found) == data


def test_encode_refuses_other_types():
    with pytest.raises(errors.IdxError, match="uint8"):
        idx.encode(np.zeros(3, np.float32))  # type: ignore[arg-type]
