"""One self-verifying file for sites without network: export here, carry it, import there.

The bundle is a zip archive with a standard-library program inside (see bundle_main), without times
or platform fields: the same content gives the same bytes, so import compares the whole file with
what it must be.

Source: PKWARE APPNOTE 6.3 (local header, central directory, end record).
"""

from __future__ import annotations

import hashlib
import importlib.resources
import io
import json
import pathlib
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

from fmnist_tfds import atomic_file, catalog, errors
from fmnist_tfds.exchange import bundle_main
from fmnist_tfds.exchange.adopt import adopt, archives
from fmnist_tfds.formats import gzip_file

_MAIN, _MANIFEST, _LICENSE, _RECEIPT = "__main__.py", "MANIFEST.json", "LICENSE", "receipt.json"
_FORMAT = 1
_MAX_BYTES = 256 << 20
# Eight members take less than 1 kB.
_MAX_DIRECTORY_BYTES = 1 << 16


def export(
    files: Mapping[str, pathlib.Path],
    out: pathlib.Path,
    *,
    dataset: catalog.Catalog = catalog.FASHION_MNIST,
) -> pathlib.Path:
    """Writes the bundle of the four files; the receipt beside them goes into it.

    Args:
        files: canonical name -> a genuine .gz.
        out: the bundle to write; replaced if it exists.
        dataset: which data set the files are.

    Raises:
        ContentError: a file is not genuine.
        StoreError: a file cannot be read or the bundle not written.
    """
    try:
        data = {file.name: files[file.name].read_bytes() for file in dataset.files}
        receipt = files[dataset.files[0].name].with_name(_RECEIPT)
        extra = {_RECEIPT: receipt.read_bytes()} if receipt.is_file() else {}
    except OSError as error:
        raise errors.StoreError(
            f"bundle: cannot read {error.filename}: {error.strerror}"
        ) from error
    for file in dataset.files:
        _check_payload(data[file.name], file, str(files[file.name]))
    content = _zip_bytes(_members(data, extra, dataset))
    out = pathlib.Path(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file.replacing(out) as stream:
            stream.write(content)
    except OSError as error:
        raise errors.StoreError(
            f"{out}: cannot be written: {error.strerror}",
            hint="free space or rights there, or choose another FILE",
        ) from error
    return out


def import_(
    path: pathlib.Path,
    target: pathlib.Path,
    *,
    dataset: catalog.Catalog = catalog.FASHION_MNIST,
) -> adopt.Adoption:
    """Checks every byte of a bundle, then writes its four files and a receipt to `target`.

    Raises:
        ArgumentError: there is no such file.
        ContentError: the bundle is damaged (the message names the member) or holds another
            data set.
        StoreError: the bundle cannot be read or the target not written.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise errors.ContentError(f"{path}: {size:,} bytes, more than any bundle")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise errors.ArgumentError(f"there is no file {path}") from error
    except OSError as error:
        raise errors.StoreError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        verify(content, str(path), dataset=dataset)
    except errors.ContentError as error:
        error.hint = "carry it over again; `fmnist-tfds adopt` takes copies that are no bundle"
        raise
    return adopt.adopt(path, target, dataset=dataset)


def verify(
    content: bytes, name: str = "bundle", *, dataset: catalog.Catalog = catalog.FASHION_MNIST
) -> None:
    """Checks every byte of a bundle.

    Raises:
        ContentError: a byte is not as it was written; the message names the member.
    """
    try:
        stream = io.BytesIO(content)
        archives.check_directory_size(stream, len(content), name, _MAX_DIRECTORY_BYTES)
        with zipfile.ZipFile(stream) as archive:
            members = bundle_main.read_members(archive)
        baked = _baked_digest(members.get(_MAIN, b""))
        manifest = bundle_main.check(members, baked)
        if manifest["dataset"] != dataset.name:
            raise errors.ContentError(f"{name}: a bundle of {manifest['dataset']!r}")
        for file in dataset.files:
            _check_payload(members[f"data/{file.name}"], file, f"{name}: data/{file.name}")
    except bundle_main.BundleError as error:
        raise errors.ContentError(f"{name}: {error}") from error
    # BadZipFile, struct.error, NotImplementedError: the table of contents; KeyError, ValueError:
    # a manifest that is none.
    except (zipfile.BadZipFile, struct.error, NotImplementedError, KeyError, ValueError) as error:
        raise errors.ContentError(f"{name}: the table of contents is damaged: {error}") from error
    expected = _zip_bytes(members)
    if content != expected:
        raise errors.ContentError(f"{name}: {_first_difference(content, expected, members)}")


def _members(
    data: Mapping[str, bytes], extra: Mapping[str, bytes], dataset: catalog.Catalog
) -> dict[str, bytes]:
    """All members in their order, the program and the manifest first."""
    license_text = dataset.license_text or f"{dataset.license}\n"
    listed = {_LICENSE: license_text.encode(), **extra}
    listed |= {f"data/{file.name}": data[file.name] for file in dataset.files}
    payloads: dict[str, dict[str, Any]] = {
        f"data/{file.name}": {
            "payload_bytes": file.payload_bytes,
            "payload_sha256": file.payload_sha256,
        }
        for file in dataset.files
    }
    template = importlib.resources.files("fmnist_tfds.exchange") / "bundle_main.py"
    program = template.read_text(encoding="utf-8")
    manifest = {
        "format": _FORMAT,
        "dataset": dataset.name,
        "title": dataset.title,
        "importer_sha256": hashlib.sha256(program.encode()).hexdigest(),
        "members": [
            {
                "name": name,
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                **payloads.get(name, {}),
            }
            for name, content in listed.items()
        ],
    }
    text = (json.dumps(manifest, indent=1) + "\n").encode()
    digest = hashlib.sha256(text).hexdigest()
    main = program.replace(bundle_main.BLANK, digest, 1).encode()
    return {_MAIN: main, _MANIFEST: text, **listed}


def _baked_digest(program: bytes) -> str:
    marker = b'MANIFEST_SHA256 = "'
    start = program.find(marker) + len(marker)
    return program[start : start + 64].decode("latin-1")


def _check_payload(gz: bytes, file: catalog.SourceFile, name: str) -> None:
    unpacked = gzip_file.gunzip(gz, file.payload_bytes)
    if unpacked.problem.startswith("corrupt"):
        raise errors.ContentError(f"{name}: damaged: {unpacked.problem}")
    if unpacked.problem or not unpacked.is_plain:
        raise errors.ContentError(f"{name}: cut short, or more follows the .gz")
    if hashlib.sha256(unpacked.data).hexdigest() != file.payload_sha256:
        raise errors.ContentError(f"{name}: not the genuine {file.name}")


def _zip_bytes(members: Mapping[str, bytes]) -> bytes:
    """A zip archive of stored members, dated 1 January 1980, without fields of a platform."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name)
            member.create_system = 0  # the same bytes on every platform
            archive.writestr(member, data)
        for member in archive.infolist():  # writestr adds rights, which only the table holds
            member.external_attr = 0
    return content.getvalue()


def _first_difference(content: bytes, expected: bytes, members: Mapping[str, bytes]) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(content, expected, strict=False)) if a != b),
        min(len(content), len(expected)),
    )
    end = 0
    for name, data in members.items():
        end += 30 + len(name) + len(data)
        if at < end:
            return f"{name}: its header differs at byte {at:,}"
    return f"the table of contents differs at byte {at:,}"
