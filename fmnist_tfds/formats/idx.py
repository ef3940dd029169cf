"""IDX bytes <-> ndarray, every header field checked. Imports numpy and errors.

Source: http://yann.lecun.com/exdb/mnist/ ("the IDX file format"): big-endian; two zero bytes,
a type code (0x08: unsigned byte), the rank, one uint32 per dimension, then the elements.
"""

from __future__ import annotations

import math
import struct

import numpy as np
import numpy.typing as npt

from fmnist_tfds import errors

_UINT8 = 0x08


def header(shape: tuple[int, ...]) -> bytes:
    """The IDX header of a uint8 array of that shape: 4 + 4 * rank bytes."""
    return struct.pack(f">HBB{len(shape)}I", 0, _UINT8, len(shape), *shape)


def encode(array: npt.NDArray[np.uint8]) -> bytes:
    """The IDX file that holds a uint8 array.

    Raises:
        IdxError: the array is not uint8.
    """
    if array.dtype != np.uint8:
        raise errors.IdxError(f"IDX payload: expected dtype uint8, got {array.dtype}")
    return header(array.shape) + np.ascontiguousarray(array).tobytes()


def decode(
    payload: bytes, shape: tuple[int, ...], *, name: str = "IDX payload"
) -> npt.NDArray[np.uint8]:
    """The array in an IDX file: a read-only uint8[shape] view of `payload`.

    Args:
        payload: the whole file.
        shape: the dimensions that the file must declare.
        name: how error messages call the file.

    Raises:
        IdxError: magic, type, rank, a dimension or the length is not as promised.
    """
    if len(payload) < 4:
        raise errors.IdxError(f"{name}: expected an IDX header, got {len(payload)} bytes")
    zeros, type_code, rank = struct.unpack_from(">HBB", payload)
    if zeros != 0 or type_code != _UINT8:
        raise errors.IdxError(
            f"{name}: not an IDX file of unsigned bytes\n"
            f"  expected  magic 0000 08\n"
            f"  got       {payload[:3].hex(' ')} ({payload[:16]!r})"
        )
    if rank != len(shape):
        wanted, got = (_KINDS.get(r, f"rank {r}") for r in (len(shape), rank))
        raise errors.IdxError(f"{name}: expected {wanted}, got {got}")
    size = 4 + 4 * rank
    if len(payload) < size:
        raise errors.IdxError(f"{name}: the header is cut short after {len(payload)} bytes")
    found = struct.unpack_from(f">{rank}I", payload, 4)
    if found != shape:
        raise errors.IdxError(f"{name}: expected dimensions {shape}, got {found}")
    expected = size + math.prod(shape)
    if len(payload) != expected:
        raise errors.IdxError(f"{name}: expected {expected:,} bytes, got {len(payload):,}")
    return np.frombuffer(payload, np.uint8, offset=size).reshape(shape)


_KINDS = {1: "labels (rank 1)", 3: "images (rank 3)"}
