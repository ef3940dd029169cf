"""The canonical .gz made again from a payload, where GNU gzip is on the machine.

zlib's deflate gives other bytes at every level; GNU gzip's level 6 gives the published ones.
Source: RFC 1952 for the header; the digests in `catalog` decide whether it worked.
"""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import struct
import subprocess
import zlib

from fmnist_tfds import catalog

_TIMEOUT_S = 120.0
_PLAIN_HEADER_BYTES = 10
_FNAME = 0x08
_UNIX = 3


def write(payload: bytes, file: catalog.SourceFile, target: pathlib.Path) -> bool:
    """Writes the canonical .gz of `file` to `target`; False, nothing written, if impossible here.

    Raises:
        OSError: `target` cannot be written.
    """
    program = shutil.which("gzip")
    if not file.sha256 or program is None:
        return False
    try:
        # An empty environment: the GZIP variable would add options.
        done = subprocess.run(
            [program, "-n", "-6", "-c"],
            input=payload,
            capture_output=True,
            timeout=_TIMEOUT_S,
            env={},
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        # A gzip that cannot be run is as good as none: the caller has another way.
        return False
    data = _header(file) + done.stdout[_PLAIN_HEADER_BYTES:]
    if hashlib.sha256(data).hexdigest() != file.sha256:
        return False
    target.write_bytes(data)
    return True


def write_own(payload: bytes, file: catalog.SourceFile, target: pathlib.Path) -> None:
    """Writes a .gz of `payload` with zlib, the same bytes on every run; not the canonical ones.

    Raises:
        OSError: `target` cannot be written.
    """
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(payload) + deflate.flush()
    trailer = struct.pack("<II", zlib.crc32(payload), len(payload) & 0xFFFFFFFF)
    target.write_bytes(_header(file) + body + trailer)


def _header(file: catalog.SourceFile) -> bytes:
    fixed = struct.pack("<2sBBIBB", b"\x1f\x8b", 8, _FNAME, file.gzip_mtime, 0, _UNIX)
    return fixed + file.payload_name.encode("ascii") + b"\0"
