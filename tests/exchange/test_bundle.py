"""A bundle is reproducible, checks itself with the standard library, and names what is damaged."""

from __future__ import annotations

import json
import os
import resource
import runpy
import subprocess
import sys
import zipfile

import containers as made
import pytest

from fmnist_tfds import errors
from fmnist_tfds.exchange import bundle
from fmnist_tfds.exchange.adopt import adopt


@pytest.fixture
def files(standin, tmp_path):
    folder = made.write_all(tmp_path / "store", {**standin.gz, "receipt.json": b'{"from": "x"}\n'})
    return {name: folder / name for name in made.NAMES}


@pytest.fixture
def carried(standin, files, tmp_path):
    return bundle.export(files, tmp_path / "fmnist.bundle.zip", dataset=standin.dataset)


def run(path, *arguments, cwd):
    """The bundle's own program, isolated from everything installed."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(path), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=600,
    )


def test_bundle_is_the_same_bytes_for_the_same_content(standin, files, carried, tmp_path):
    for path in files.values():
        os.utime(path, (1, 1))
    again = bundle.export(files, tmp_path / "again.zip", dataset=standin.dataset)
    assert again.read_bytes() == carried.read_bytes()


def test_every_unpacked_file_is_on_the_disk_before_it_gets_its_name(
    carried, tmp_path, synced, monkeypatch
):
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", [str(carried), "--extract", str(out)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(carried), run_name="__main__")
    assert ended.value.code == 0
    assert {path.name for path in out.iterdir()} >= set(made.NAMES)
    assert {path.stat().st_ino for path in out.iterdir()} <= synced


def test_bundle_holds_no_time_and_nothing_of_the_platform(carried):
    with zipfile.ZipFile(carried) as archive:
        for member in archive.infolist():
            assert member.date_time == (1980, 1, 1, 0, 0, 0)
            fields = (member.create_system, member.external_attr, member.flag_bits, member.extra)
            assert fields == (0, 0, 0, b"")


def test_bundle_is_a_zip_file_with_licence_digests_and_receipt(standin, carried):
    with zipfile.ZipFile(carried) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        manifest = json.loads(archive.read("MANIFEST.json"))
        assert archive.read("LICENSE").decode() == standin.dataset.license_text
        assert archive.read("receipt.json") == b'{"from": "x"}\n'
    assert names[:4] == ["__main__.py", "MANIFEST.json", "LICENSE", "receipt.json"]
    digests = {e["name"]: e.get("payload_sha256") for e in manifest["members"]}
    assert digests["data/t10k-labels-idx1-ubyte.gz"] == standin.dataset.files[3].payload_sha256


def test_bundle_import_writes_the_four_files(standin, carried, tmp_path):
    adoption = bundle.import_(carried, tmp_path / "out", dataset=standin.dataset)
    assert {n: p.read_bytes() for n, p in adoption.files.items()} == standin.gz


def test_bundle_verifies_and_extracts_itself_with_the_standard_library(standin, carried, tmp_path):
    verified = run(carried, "--verify", cwd=tmp_path)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert verified.stdout.endswith("the stand-in: genuine, 8 members checked\n")
    extracted = run(carried, "--extract", "here/deep", cwd=tmp_path)
    assert extracted.returncode == 0
    out = tmp_path / "here" / "deep"
    assert {n: (out / n).read_bytes() for n in made.NAMES} == standin.gz
    assert sorted(p.name for p in out.iterdir()) == sorted([*made.NAMES, "LICENSE", "receipt.json"])
    assert run(carried, cwd=tmp_path).returncode == 2
    helped = run(carried, "--help", cwd=tmp_path)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "--extract FOLDER" in helped.stdout


def test_bundle_that_cannot_be_extracted_says_where_and_why(carried, tmp_path):
    (tmp_path / "file").write_text("")
    done = run(carried, "--extract", "file/deep", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr == "file/deep: cannot be written: Not a directory\n"


def test_extracting_that_fails_leaves_no_part_of_a_file(carried, tmp_path):
    (tmp_path / "out" / made.NAMES[3] / "mine").mkdir(parents=True)
    done = run(carried, "--extract", "out", cwd=tmp_path)
    assert (done.returncode, "out: cannot be written: " in done.stderr) == (3, True)
    assert not list((tmp_path / "out").glob(".*"))


def test_export_that_fails_leaves_the_bundle_that_was_there(standin, files, tmp_path):
    out = tmp_path / "b.zip"
    out.write_bytes(b"last month's")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, limits[1]))  # half of what it takes
    try:
        with pytest.raises(errors.StoreError, match=r"b\.zip: cannot be written: File too large"):
            bundle.export(files, out, dataset=standin.dataset)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert out.read_bytes() == b"last month's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.zip", "store"]


def test_file_that_cannot_be_read_is_one_error_with_its_name(standin, files, tmp_path):
    files[made.NAMES[2]].unlink()
    with pytest.raises(errors.StoreError, match=f"cannot read .*{made.NAMES[2]}: No such file"):
        bundle.export(files, tmp_path / "b.zip", dataset=standin.dataset)
    with pytest.raises(errors.StoreError, match="store: cannot be read: Is a directory"):
        bundle.import_(tmp_path / "store", tmp_path / "out", dataset=standin.dataset)


def test_import_of_what_is_no_bundle_says_what_to_do(standin, tmp_path):
    with pytest.raises(errors.ArgumentError, match="there is no file"):
        bundle.import_(tmp_path / "none.zip", tmp_path / "out", dataset=standin.dataset)
    made.zip_of(tmp_path / "other.zip", standin.gz)
    with pytest.raises(errors.ContentError) as caught:
        bundle.import_(tmp_path / "other.zip", tmp_path / "out", dataset=standin.dataset)
    assert "fmnist-tfds adopt" in caught.value.hint


def test_bundle_program_imports_the_standard_library_only(carried):
    with zipfile.ZipFile(carried) as archive:
        text = archive.read("__main__.py").decode()
    modules = {line.split()[1] for line in text.splitlines() if line.startswith("import ")}
    assert modules <= set(sys.stdlib_module_names)
    assert "\nfrom " not in text


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {
            info.filename: (info.header_offset + 30 + len(info.filename), info.file_size)
            for info in archive.infolist()
        }


def test_a_flipped_bit_in_any_member_is_found_and_named(standin, carried, tmp_path):
    whole = carried.read_bytes()
    for name, (start, size) in members_of(carried).items():
        for at in {start, start + size // 3, start + size - 1}:
            for bit in (0, 5):
                damaged = bytearray(whole)
                damaged[at] ^= 1 << bit
                with pytest.raises(errors.ContentError, match=name.replace(".", r"\.")):
                    bundle.verify(bytes(damaged), dataset=standin.dataset)
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_anywhere_is_found(standin, carried):
    whole = carried.read_bytes()
    places = {*range(0, len(whole), 499), *range(len(whole) - 700, len(whole))}
    for at in places:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(errors.ContentError):
            bundle.verify(bytes(damaged), dataset=standin.dataset)


def test_bundle_cut_short_is_refused(standin, carried, tmp_path):
    whole = carried.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.zip").write_bytes(whole[:size])
        with pytest.raises(errors.ContentError):
            bundle.import_(tmp_path / "cut.zip", tmp_path / "out", dataset=standin.dataset)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["MANIFEST.json", "data/t10k-labels-idx1-ubyte.gz", "LICENSE"])
def test_the_bundles_own_program_names_a_flipped_bit(name, carried, tmp_path):
    start, size = members_of(carried)[name]
    damaged = bytearray(carried.read_bytes())
    damaged[start + size // 2] ^= 4
    (tmp_path / "damaged.zip").write_bytes(damaged)
    for arguments in (("--verify",), ("--extract", "out")):
        done = run(tmp_path / "damaged.zip", *arguments, cwd=tmp_path)
        assert done.returncode == 4
        assert f"DAMAGED: {name}" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_manifest_made_to_match_changed_data_is_refused(standin, files, tmp_path, carried):
    with zipfile.ZipFile(carried) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    other = made.gzip.compress(b"other data", mtime=0)
    members["data/t10k-labels-idx1-ubyte.gz"] = other
    made.zip_of(tmp_path / "forged.zip", members)
    with pytest.raises(errors.ContentError):
        bundle.import_(tmp_path / "forged.zip", tmp_path / "out", dataset=standin.dataset)


def test_bundle_of_files_that_are_not_genuine_is_refused(standin, files, tmp_path):
    files["t10k-labels-idx1-ubyte.gz"].write_bytes(b"no gzip")
    with pytest.raises(errors.ContentError, match="t10k-labels"):
        bundle.export(files, tmp_path / "b.zip", dataset=standin.dataset)
    assert not (tmp_path / "b.zip").exists()


def test_bundle_can_be_adopted_as_the_zip_file_it_is(standin, carried, tmp_path):
    adoption = adopt.adopt(carried, tmp_path / "out", dataset=standin.dataset)
    assert adoption.form == "zip > gzip > IDX"


def test_bundle_of_another_data_set_is_refused(carried, tmp_path):
    with pytest.raises(errors.ContentError, match="a bundle of 'stand-in'"):
        bundle.import_(carried, tmp_path / "out")
