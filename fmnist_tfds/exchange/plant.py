"""The four files -> the places where unmodified tools look, so that they work with no network.

Nothing different is overwritten unless asked, and everything is checked before anything is
written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import tempfile
from collections.abc import Mapping

from fmnist_tfds import atomic_file, catalog, errors
from fmnist_tfds.config import home
from fmnist_tfds.exchange import tool_folders
from fmnist_tfds.formats import gzip_file

TOOLS: tuple[str, ...] = tuple(catalog.FASHION_MNIST.plantable())


@dataclasses.dataclass(frozen=True, slots=True)
class Planted:
    """What was planted.

    Attributes:
        tool: for which tool.
        root: what that tool calls its root.
        written: the files written.
        kept: the genuine files that already stood there.
        usage: the tool's own line that works now.
    """

    tool: str
    root: pathlib.Path
    written: tuple[pathlib.Path, ...]
    kept: tuple[pathlib.Path, ...]
    usage: str


def plant(
    tool: str,
    files: Mapping[str, pathlib.Path],
    root: pathlib.Path | None = None,
    *,
    overwrite: bool = False,
    dataset: catalog.Catalog = catalog.FASHION_MNIST,
) -> Planted:
    """Puts the four files where a tool looks for them.

    Args:
        tool: "keras", "torchvision", "tfds", "paddle" or "mindspore".
        files: canonical name -> a genuine .gz of ours, canonical or not.
        root: what the tool calls its root (KERAS_HOME, FashionMNIST(root), data_dir, DATA_HOME,
            dataset_dir); default: where the tool looks by itself, if it does.
        overwrite: replace different files that stand there.
        dataset: which data set the files are.

    Raises:
        ArgumentError: an unknown tool, or one without a place of its own and no root.
        ContentError: a file given is not genuine.
        StoreError: a different file stands there; the place cannot be written; or the tool checks
            the gz hash and this machine cannot make the canonical .gz.
    """
    plantable = dataset.plantable()
    if tool not in plantable:
        known = ", ".join(plantable) or f"no tool: none is known to read {dataset.title}"
        raise errors.ArgumentError(f"plant: expected one of {known}, got {tool!r}")
    layout = plantable[tool]
    place = _root(tool) if root is None else home.expanded(root)
    wanted, kept = [], []
    for file in dataset.files:
        is_payload = layout.form == "payload"
        at = place / layout.folder / (file.payload_name if is_payload else file.name)
        if _is_genuine(at, file, layout):
            kept.append(at)
        elif (at.exists() or at.is_symlink()) and not overwrite:
            raise errors.StoreError(
                f"{at} exists and is not the genuine file that {tool} needs; nothing was written",
                hint="pass --overwrite to replace it",
            )
        else:
            wanted.append((at, file))
    # All contents are made before the first is written: a refusal leaves the place untouched.
    contents = [(at, _content(file, files[file.name], layout, tool)) for at, file in wanted]
    for at, content in contents:
        _write(at, content)
    usage = layout.usage.format(root=str(place))
    if tool == "paddle" and place != tool_folders.paddle_home():
        # Paddle (3.3.1) makes DATA_HOME from ~ when it is imported and reads no variable.
        usage = f"paddle.dataset.common.DATA_HOME = {str(place)!r}; {usage}"
    return Planted(
        tool=tool,
        root=place,
        written=tuple(at for at, _ in contents),
        kept=tuple(kept),
        usage=usage,
    )


def _root(tool: str) -> pathlib.Path:
    match tool:
        case "keras":
            return tool_folders.keras_home()
        case "tfds":
            return tool_folders.tfds_data_dir()
        case "paddle":
            return tool_folders.paddle_home()
    raise errors.ArgumentError(
        f"plant {tool}: no root given; {tool} has no place of its own",
        hint="pass --root with the folder that your script gives it",
    )


def _is_genuine(at: pathlib.Path, file: catalog.SourceFile, layout: catalog.ToolFolder) -> bool:
    if not at.is_file():
        return False
    data = at.read_bytes()
    if layout.form == "gz":
        payload = _decompressed(data, file)
        return payload is not None and _sha256(payload) == file.payload_sha256
    expected = file.sha256 if layout.form == "canonical" else file.payload_sha256
    return _sha256(data) == expected


def _content(
    file: catalog.SourceFile, source: pathlib.Path, layout: catalog.ToolFolder, tool: str
) -> bytes:
    try:
        data = source.read_bytes()
    except OSError as error:
        raise errors.StoreError(f"{source}: cannot be read: {error.strerror}") from error
    if layout.form != "payload" and _sha256(data) == file.sha256:
        return data
    payload = _decompressed(data, file)
    if payload is None or _sha256(payload) != file.payload_sha256:
        raise errors.ContentError(f"{source}: not the genuine {file.name}")
    if layout.form == "payload":
        return payload
    if layout.form == "gz":
        return data
    with tempfile.TemporaryDirectory() as scratch:
        made = pathlib.Path(scratch) / file.name
        if gzip_file.write(payload, file, made):
            return made.read_bytes()
    raise errors.StoreError(
        f"{tool} checks the hash of {file.name}, and the canonical .gz cannot be made here: "
        "the payload is genuine, its .gz is not the published one",
        hint="install GNU gzip, or plant from the four published .gz",
    )


def _decompressed(data: bytes, file: catalog.SourceFile) -> bytes | None:
    """The payload of a .gz, or None where it is damaged, goes on, or is of another length."""
    unpacked = gzip_file.gunzip(data, file.payload_bytes)
    is_whole = unpacked.is_plain and not unpacked.problem
    return unpacked.data if is_whole and len(unpacked.data) == file.payload_bytes else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write(at: pathlib.Path, content: bytes) -> None:
    try:
        at.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file.replacing(at) as stream:
            stream.write(content)
    except OSError as error:
        raise errors.StoreError(
            f"{at}: cannot be written: {error.strerror}",
            hint="free space or rights there, or choose another --root",
        ) from error
