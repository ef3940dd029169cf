"""A bundle whose checksums fit each other and whose content does not: refused, both ways in."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
import zlib

import containers as made
import numpy as np
import pytest

from fmnist_tfds import catalog, errors
from fmnist_tfds.exchange import bundle
from fmnist_tfds.formats import idx

NAME = "data/t10k-labels-idx1-ubyte.gz"


@pytest.fixture
def carried(standin, tmp_path):
    folder = made.write_all(tmp_path / "store", standin.gz)
    files = {name: folder / name for name in made.NAMES}
    return bundle.export(files, tmp_path / "fmnist.bundle.zip", dataset=standin.dataset)


def members_of(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sealed(members: dict[str, bytes], change_manifest=lambda manifest: None) -> dict[str, bytes]:
    """The members under a manifest and a program whose digests fit them."""
    manifest = json.loads(members["MANIFEST.json"])
    for entry in manifest["members"]:
        data = members[entry["name"]]
        entry["bytes"], entry["sha256"] = len(data), sha256(data)
    change_manifest(manifest)
    text = (json.dumps(manifest, indent=1) + "\n").encode()
    before, after = sha256(members["MANIFEST.json"]), sha256(text)
    program = members["__main__.py"].replace(before.encode(), after.encode())
    return members | {"MANIFEST.json": text, "__main__.py": program}


def with_manifest(members: dict[str, bytes], text: bytes) -> dict[str, bytes]:
    """The members under another manifest and a program that knows its digest."""
    before = sha256(members["MANIFEST.json"]).encode()
    main = members["__main__.py"].replace(before, sha256(text).encode())
    return members | {"MANIFEST.json": text, "__main__.py": main}


def written(path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return path


def program(path, *arguments):
    return subprocess.run(
        [sys.executable, "-I", "-S", str(path), *arguments],
        capture_output=True,
        text=True,
        cwd=path.parent,
        timeout=600,
    )


def other_labels(data) -> bytes:
    return gzip.compress(idx.encode((data.y_test + 1) % 10), 6, mtime=0)


def forgeries(data, members: dict[str, bytes]) -> dict[str, tuple[dict[str, bytes], str]]:
    """Name -> the members of a bundle that is wrong in one thing alone, and what must be said."""
    licence = members["LICENSE"].replace(b"Zalando", b"Zalanda")

    def forget(manifest):
        manifest["members"] = [e for e in manifest["members"] if e["name"] != "LICENSE"]

    text = members["MANIFEST.json"].replace(b"the stand-in", b"another set!")
    longer = gzip.compress(idx.encode(data.y_test) + b"!", 6, mtime=0)
    return {
        "data": (sealed(members | {NAME: other_labels(data)}), NAME),
        "data that goes on": (sealed(members | {NAME: longer}), NAME),
        "data that is no .gz": (sealed(members | {NAME: b"no gzip"}), f"{NAME}: damaged"),
        "manifest without members": (
            with_manifest(members, b"{}"),
            "MANIFEST.json: not a manifest",
        ),
        "manifest that is a list": (with_manifest(members, b"[]"), "MANIFEST.json: not a manifest"),
        "manifest that is no JSON": (with_manifest(members, b"{"), "MANIFEST.json: not a manifest"),
        "unlisted change": (members | {"LICENSE": licence}, "LICENSE: sha256"),
        "manifest": (members | {"MANIFEST.json": text}, "MANIFEST.json: sha256"),
        "program": (
            members | {"__main__.py": members["__main__.py"] + b"# and more\n"},
            "__main__.py: sha256",
        ),
        "extra member": (members | {"data/run-me.py": b"x"}, "data/run-me.py: not in the manifest"),
        "unlisted member": (sealed(members, forget), "LICENSE: not in the manifest"),
        "missing member": (
            {name: content for name, content in members.items() if name != "LICENSE"},
            "LICENSE: missing",
        ),
    }


@pytest.mark.parametrize(
    "name",
    [
        "data",
        "data that goes on",
        "data that is no .gz",
        "manifest without members",
        "manifest that is a list",
        "manifest that is no JSON",
        "unlisted change",
        "manifest",
        "program",
        "extra member",
        "unlisted member",
        "missing member",
    ],
)
def test_forged_bundle_is_refused_by_its_own_program_and_by_import(
    name, standin, carried, tmp_path
):
    members, said = forgeries(standin, members_of(carried))[name]
    path = written(tmp_path / "forged.zip", members)
    done = program(path, "--extract", "out")
    assert done.returncode == 4, done.stdout
    assert "DAMAGED: " in done.stderr
    assert said in done.stderr
    with pytest.raises(errors.ContentError) as caught:
        bundle.import_(path, tmp_path / "out", dataset=standin.dataset)
    assert said in caught.value.message
    assert not (tmp_path / "out").exists()


def test_bundle_that_would_unpack_to_fill_the_memory_is_refused(standin, carried, tmp_path):
    engine = zlib.compressobj(1, wbits=-15)
    megabyte = engine.compress(bytes(1 << 20)) + engine.flush(zlib.Z_FULL_FLUSH)
    head = gzip.compress(b"", mtime=0)[:10]

    def declare(manifest):
        for entry in manifest["members"]:
            entry["payload_bytes"] = 1 << 40

    members = members_of(carried) | {NAME: head + megabyte * 4096}
    path = written(tmp_path / "bomb.zip", sealed(members, declare))
    done = subprocess.run(
        [
            *("sh", "-c", 'ulimit -v 1000000; exec "$@"', ""),
            *(sys.executable, "-I", "-S", path.name, "--verify"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
    )
    assert done.stderr == f"bomb.zip: DAMAGED: {NAME}: the data inside differs from the manifest\n"
    assert done.returncode == 4


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_member_that_stands_twice_is_refused(standin, carried, tmp_path):
    path = written(tmp_path / "twice.zip", members_of(carried))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(NAME, members_of(carried)[NAME])
    done = program(path, "--verify")
    assert (done.returncode, f"DAMAGED: {NAME}: stands twice" in done.stderr) == (4, True)
    with pytest.raises(errors.ContentError, match="stands twice"):
        bundle.verify(path.read_bytes(), dataset=standin.dataset)


def test_members_that_are_compressed_are_refused(standin, carried, tmp_path):
    path = written(tmp_path / "packed.zip", members_of(carried), zipfile.ZIP_DEFLATED)
    done = program(path, "--verify")
    assert (done.returncode, "not a member as it was written" in done.stderr) == (4, True)
    with pytest.raises(errors.ContentError, match="not a member as it was written"):
        bundle.verify(path.read_bytes(), dataset=standin.dataset)


def test_bundle_that_only_another_zip_program_wrote_is_refused(standin, carried, tmp_path):
    path = written(tmp_path / "again.zip", members_of(carried))
    assert program(path, "--verify").returncode == 0, "the content is what it was"
    with pytest.raises(errors.ContentError, match="differs at byte"):
        bundle.verify(path.read_bytes(), dataset=standin.dataset)


def other_catalog(data) -> tuple[catalog.Catalog, dict[str, bytes]]:
    """A catalog of the stand-in's name whose test labels are others, with the four .gz."""
    gz = data.gz | {"t10k-labels-idx1-ubyte.gz": other_labels(data)}
    payload = gzip.decompress(gz["t10k-labels-idx1-ubyte.gz"])
    files = tuple(
        dataclasses.replace(file, payload_sha256=sha256(payload)) if file.name in NAME else file
        for file in data.dataset.files
    )
    return dataclasses.replace(data.dataset, files=files), gz


def test_bundle_that_is_flawless_and_holds_other_data_is_refused(standin, tmp_path):
    dataset, gz = other_catalog(standin)
    folder = made.write_all(tmp_path / "store", gz)
    path = bundle.export(
        {name: folder / name for name in made.NAMES}, tmp_path / "b.zip", dataset=dataset
    )
    bundle.verify(path.read_bytes(), dataset=dataset)
    assert program(path, "--verify").returncode == 0
    with pytest.raises(errors.ContentError, match=r"not the genuine t10k-labels-idx1-ubyte\.gz"):
        bundle.verify(path.read_bytes(), dataset=standin.dataset)


@pytest.mark.parametrize("change", ["other labels", "cut short", "goes on"])
def test_file_that_is_not_whole_and_genuine_is_never_exported(change, standin, tmp_path):
    whole = standin.gz["t10k-labels-idx1-ubyte.gz"]
    changed = {
        "other labels": other_labels(standin),
        "cut short": whole[:-4],
        "goes on": whole + b"more",
    }[change]
    folder = made.write_all(tmp_path / "store", standin.gz | {"t10k-labels-idx1-ubyte.gz": changed})
    files = {name: folder / name for name in made.NAMES}
    with pytest.raises(errors.ContentError, match="t10k-labels"):
        bundle.export(files, tmp_path / "b.zip", dataset=standin.dataset)
    assert not (tmp_path / "b.zip").exists()


def test_file_larger_than_any_bundle_is_refused_unread(standin, tmp_path):
    with (tmp_path / "b.zip").open("wb") as file:
        file.truncate((256 << 20) + 1)  # no block of it is on the disk
    with pytest.raises(errors.ContentError, match="268,435,457 bytes, more than any bundle"):
        bundle.import_(tmp_path / "b.zip", tmp_path / "out", dataset=standin.dataset)


def test_manifest_states_format_and_digests_of_files_and_data(standin, carried):
    members = members_of(carried)
    manifest = json.loads(members["MANIFEST.json"])
    assert (manifest["format"], manifest["dataset"]) == (1, "stand-in")
    for entry in manifest["members"]:
        data = members[entry["name"]]
        assert (entry["bytes"], entry["sha256"]) == (len(data), sha256(data))
        if entry["name"].startswith("data/"):
            payload = zlib.decompress(data, 31)
            assert entry["payload_bytes"] == len(payload)
            assert entry["payload_sha256"] == sha256(payload)
            assert np.frombuffer(payload[:4], ">u4") in (0x801, 0x803)
    assert {entry["name"] for entry in manifest["members"]} == set(members) - {
        "__main__.py",
        "MANIFEST.json",
    }


def test_extracted_files_are_readable_by_everybody_and_replace_links_and_old_ones(
    carried, tmp_path
):
    out, mine = tmp_path / "out", tmp_path / "mine"
    out.mkdir()
    mine.write_text("mine")
    (out / "LICENSE").symlink_to(mine)
    (out / made.NAMES[0]).write_text("old")
    assert program(carried, "--extract", "out").returncode == 0
    assert mine.read_text() == "mine"
    for name, content in members_of(carried).items():
        if name.startswith("data/") or name == "LICENSE":
            assert (out / name.removeprefix("data/")).read_bytes() == content
    assert {path.lstat().st_mode & 0o777 for path in out.iterdir()} == {0o644}
