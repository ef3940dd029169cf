"""What is prepared is proved first, told from remains by its contents, and never lost."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import small_dataset as small
import tensorflow_datasets as tfds
from tensorflow_datasets.core import file_adapters

from fmnist_tfds import errors, obtain, version_folder
from fmnist_tfds.cli import main
from fmnist_tfds.datasets import replacing_builder, tfds_command
from fmnist_tfds.datasets.fmnist_resilient import fmnist_resilient_dataset_builder as resilient
from fmnist_tfds.formats import tfrecord
from fmnist_tfds.input_pipeline.shards import prepared

REPO = pathlib.Path(__file__).resolve().parents[2]
OVERWRITE = tfds.download.GenerateMode.REUSE_CACHE_IF_EXISTS
NAME = "fmnist_resilient"
DATASET_INFO = "dataset_info.json"
TRAIN = "fmnist_resilient-train.tfrecord-00000-of-00001"


def make(data_dir, source="off", file_format=None):
    return resilient.Builder(
        data_dir=str(data_dir), mirrors=["off", str(source)], file_format=file_format
    )


def prepare(data_dir, source="off", *, file_format=None, **options):
    """A prepared builder; without a source only where nothing has to be obtained."""
    builder = make(data_dir, source, file_format)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**options))
    return builder


def pixels(builder, split="train"):
    """What the shards hold: uint8[n, 28, 28], by TFDS's own builder of the folder."""
    read_only = tfds.builder_from_directory(str(builder.data_path))
    if read_only.info.file_format.value == "array_record":
        return np.stack([e["image"] for e in read_only.as_data_source(split)])[..., 0]
    read = tfds.ReadConfig(interleave_cycle_length=1)
    dataset = read_only.as_dataset(split, read_config=read)
    return np.stack([e["image"] for e in tfds.as_numpy(dataset)])[..., 0]


def beside(folder):
    """The names beside a version folder."""
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "tfds"


@pytest.fixture
def folder(small_data, data_dir, tmp_path, monkeypatch):
    """The version folder of a small prepared data set; the cache is empty after that."""
    folder = pathlib.Path(prepare(data_dir, small_data).data_dir)
    monkeypatch.setenv("FMNIST_TFDS_CACHE_DIR", str(tmp_path / "cache"))
    return folder


# Formats


@pytest.mark.parametrize("name", ["parquet", "riegeli"])
@pytest.mark.parametrize("where", ["of the builder", "of the call"])
def test_format_that_cannot_be_proved_is_refused_by_name(small_data, data_dir, name, where):
    builder = make(data_dir, small_data, name if where == "of the builder" else None)
    named = {"file_format": name} if where == "of the call" else {}
    with pytest.raises(errors.ArgumentError, match=f"file_format: {name} cannot be read back"):
        builder.download_and_prepare(**named)
    assert not data_dir.exists()


def test_build_in_parquet_is_a_usage_error_that_names_the_format(small_data, data_dir, capsys):
    flags = [f"--mirrors={small_data}", f"--data_dir={data_dir}", "--file_format=parquet"]
    assert main.run(["build", *flags]) == 2
    assert "file_format: parquet cannot be read back and proved" in capsys.readouterr().err
    assert not data_dir.exists()


@pytest.mark.parametrize("count", [0, -1])
def test_no_examples_at_all_are_refused(small_data, data_dir, count):
    with pytest.raises(errors.ArgumentError, match="max_examples_per_split: expected 1 or more"):
        prepare(data_dir, small_data, max_examples_per_split=count)


@pytest.mark.parametrize("options", [{}, {"num_shards": 3}, {"max_examples_per_split": 7}])
@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_every_format_that_is_taken_holds_every_pixel(small_data, data_dir, file_format, options):
    builder = prepare(data_dir, small_data, file_format=file_format, **options)
    count = options.get("max_examples_per_split", small.COUNTS["train"])
    assert np.array_equal(pixels(builder), small.arrays("train")[0][:count])
    assert not version_folder.fault(builder.data_path, NAME)


# The proof


def _alter(change):
    def alter(path):
        data = bytearray(path.read_bytes())
        path.write_bytes(change(data) or data)

    return alter


def _flip(record, offset):
    def flip(data):
        data[record * tfrecord.RECORD_BYTES + offset] ^= 1

    return flip


_SIZE = tfrecord.RECORD_BYTES
SPOILED = {
    "a pixel": _alter(_flip(3, 400)),
    "a label": _alter(_flip(3, tfrecord._LABEL)),
    "a length": _alter(_flip(3, 0)),
    "a checksum of a record": _alter(_flip(3, _SIZE - 1)),
    "a checksum of a picture": _alter(_flip(3, tfrecord._PNG + 861)),
    "two records swapped": _alter(lambda d: d[_SIZE : 2 * _SIZE] + d[:_SIZE] + d[2 * _SIZE :]),
    "a record lost": _alter(lambda d: d[_SIZE:]),
    "a byte lost": _alter(lambda d: d[:-1]),
    "a byte more": _alter(lambda d: d + b"x"),
    "all lost": lambda path: path.write_bytes(b""),
    "the file lost": pathlib.Path.unlink,
}


@pytest.mark.parametrize("what", SPOILED)
def test_records_that_reached_the_disk_otherwise_are_not_published(
    small_data, data_dir, monkeypatch, what
):
    write = resilient.Builder._write_split

    def write_and_spoil(self, split, *arguments):
        info = write(self, split, *arguments)
        if split == "train":
            SPOILED[what](pathlib.Path(info.filepaths[0]))
        return info

    monkeypatch.setattr(resilient.Builder, "_write_split", write_and_spoil)
    with pytest.raises((errors.RecordError, errors.StoreError), match="fmnist_resilient"):
        prepare(data_dir, small_data)
    assert list((data_dir / NAME).iterdir()) == []


def test_description_that_does_not_fit_the_records_is_not_published(
    small_data, data_dir, monkeypatch
):
    write = resilient.Builder._write_split

    def write_and_miscount(self, *arguments):
        info = write(self, *arguments)
        return info.replace(num_bytes=info.num_bytes + 1)

    monkeypatch.setattr(resilient.Builder, "_write_split", write_and_miscount)
    with pytest.raises(errors.RecordError, match="just written and not complete: the shards of"):
        prepare(data_dir, small_data)
    assert list((data_dir / NAME).iterdir()) == []


def test_prefix_that_is_not_the_sources_is_not_published(small_data, data_dir, monkeypatch):
    encode = tfrecord.encode
    monkeypatch.setattr(tfrecord, "encode", lambda i, y: encode(np.roll(i, 1, axis=0), y))
    with pytest.raises(errors.RecordError, match="record 0 is not what was to be written"):
        prepare(data_dir, small_data, max_examples_per_split=7)


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        (lambda examples: examples[:-1], "59 records instead of 60"),
        (lambda examples: [examples[1], examples[0], *examples[2:]], "record 0 is not what"),
        (lambda examples: [*examples[:-1], (0, b"x" * 918)], "record 59 is not what"),
    ],
)
def test_array_records_that_lose_or_change_examples_are_not_published(
    small_data, data_dir, monkeypatch, lose, said
):
    adapter = file_adapters.ArrayRecordFileAdapter
    write = adapter.write_examples

    def write_others(path, iterator):
        return write(path, lose(list(iterator)))

    monkeypatch.setattr(adapter, "write_examples", write_others)
    with pytest.raises(errors.RecordError, match=said):
        prepare(data_dir, small_data, file_format="array_record")
    assert list((data_dir / NAME).iterdir()) == []


def test_examples_that_are_not_even_counted_are_missed(small_data, data_dir, monkeypatch):
    generate = resilient.Builder._generate_examples

    def all_but_the_last(self, *arrays):
        return iter(list(generate(self, *arrays))[:-1])

    monkeypatch.setattr(resilient.Builder, "_generate_examples", all_but_the_last)
    with pytest.raises(errors.RecordError, match="59 examples instead of 60"):
        prepare(data_dir, small_data, file_format="array_record")
    assert list((data_dir / NAME).iterdir()) == []


# Remains


def _edit(**changes):
    def edit(folder):
        path = folder / DATASET_INFO
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def _more_shards(folder):
    path = folder / DATASET_INFO
    info = json.loads(path.read_text())
    info["splits"][0]["shardLengths"] = ["30", "30"]
    path.write_text(json.dumps(info))


def _emptied(folder):
    for path in folder.iterdir():
        path.unlink()


def _a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("not a folder")


def _a_dangling_link(folder):
    shutil.rmtree(folder)
    folder.symlink_to("nowhere")


def _a_folder_for_a_shard(folder):
    (folder / TRAIN).unlink()
    (folder / TRAIN).mkdir()


def _grown(name):
    def grown(folder):
        (folder / name).write_bytes((folder / name).read_bytes() + b"\0")

    return grown


def _cut(name, kept):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:kept])


def _written(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def _lost(name):
    return lambda folder: (folder / name).unlink()


REMAINS = {
    "nothing in it": (_emptied, "dataset_info.json is missing"),
    "a file": (_a_file, "it is not a folder"),
    "a dangling link": (_a_dangling_link, "it is not a folder"),
    "no dataset_info.json": (_lost(DATASET_INFO), "dataset_info.json is missing"),
    "an empty dataset_info.json": (_cut(DATASET_INFO, 0), "dataset_info.json cannot be read"),
    "half a dataset_info.json": (_cut(DATASET_INFO, 900), "dataset_info.json cannot be read"),
    "bytes for dataset_info.json": (_written(DATASET_INFO, b"\xff\xfe\0"), "cannot be read"),
    "a list for dataset_info.json": (_written(DATASET_INFO, b"[1]"), "cannot be read"),
    "{} for dataset_info.json": (_written(DATASET_INFO, b"{}"), "describes no data set"),
    "another data set": (_edit(name="mnist"), "describes mnist"),
    "another version": (_edit(version="0.9.0"), "describes version 0.9.0"),
    "no splits": (_edit(splits=[]), "names no splits"),
    "parquet": (_edit(fileFormat="parquet"), "its format is parquet"),
    "other shards": (_more_shards, "is missing"),
    "no features.json": (_lost("features.json"), "features.json is missing"),
    "an empty features.json": (_cut("features.json", 0), "features.json cannot be read"),
    "half a features.json": (_cut("features.json", 100), "features.json cannot be read"),
    "{} for features.json": (_written("features.json", b"{}"), "features.json cannot be read"),
    "a list for features.json": (_written("features.json", b"[]"), "features.json cannot be"),
    "no class names": (_lost("label.labels.txt"), "label.labels.txt is missing"),
    "no shard": (_lost(TRAIN), f"{TRAIN} is missing"),
    "an empty shard": (_cut(TRAIN, 0), f"{TRAIN} is empty"),
    "a truncated shard": (_cut(TRAIN, 5000), "the shards of train have 5,000 bytes"),
    "a shard that grew": (_grown(TRAIN), "the shards of train have"),
    "a folder for a shard": (_a_folder_for_a_shard, f"{TRAIN} is empty or no file"),
}
# What a reader finds for itself, and names the shard and the record.
SHARDS = ("shard", "parquet", "splits", "class names")


@pytest.mark.parametrize("what", REMAINS)
def test_remains_are_kept_beside_and_the_data_is_prepared_anew(small_data, data_dir, folder, what):
    damage, why = REMAINS[what]
    damage(folder)
    assert why in version_folder.fault(make(data_dir).data_path, NAME, "1.0.0")
    before = contents(folder) if folder.is_dir() and what != "a folder for a shard" else None
    builder = prepare(data_dir, small_data)
    assert np.array_equal(pixels(builder), small.arrays("train")[0])
    (kept,) = beside(folder)
    assert kept.startswith("remains.")
    assert before is None or contents(folder.parent / kept) == before
    prepare(data_dir)  # without a source: it is recognised as prepared
    assert beside(folder) == [kept]


@pytest.mark.parametrize("what", [w for w in REMAINS if not any(s in w for s in SHARDS)])
def test_reader_says_what_is_wrong_with_remains(data_dir, folder, what):
    damage, why = REMAINS[what]
    damage(folder)
    with pytest.raises(errors.NotPreparedError, match=rf"1\.0\.0: {why}|1\.0\.0: .*{why}"):
        prepared.find_builder(NAME, data_dir, None)


def test_reader_with_a_builder_of_remains_says_what_is_wrong(data_dir, folder):
    _cut(TRAIN, 5000)(folder)
    with pytest.raises(errors.NotPreparedError, match="the shards of train have 5,000 bytes"):
        prepared.find_builder(NAME, None, make(data_dir))


def test_builder_that_was_made_before_the_data_finds_it(small_data, data_dir):
    early = make(data_dir)
    prepare(data_dir, small_data)
    found = prepared.find_builder(NAME, None, early)
    assert prepared.find_split(found, "train").examples == small.COUNTS["train"]


def test_builder_that_was_made_before_the_data_takes_it_over_and_reads_it(small_data, data_dir):
    early = make(data_dir)
    prepare(data_dir, small_data)
    early.download_and_prepare()
    assert not early.prepared_now
    assert early.info.splits["train"].num_examples == small.COUNTS["train"]
    assert np.array_equal(pixels(early), small.arrays("train")[0])


def test_data_set_takes_its_name_though_what_stood_there_was_taken_away(data_dir, folder):
    beside_it = folder.with_name("incomplete.ABC_1.0.0")
    folder.rename(beside_it)
    final = make(data_dir).data_path
    version_folder.swap(final.parent / beside_it.name, final, keep=True)
    assert not version_folder.fault(final, NAME)
    assert beside(folder) == []


def test_reader_takes_the_version_of_the_code_beside_remains_of_a_higher_one(data_dir, folder):
    (folder.parent / "2.0.0").mkdir()
    assert prepared.find_builder(NAME, data_dir, None).data_path.name == "1.0.0"


def test_remains_where_nothing_can_be_written_are_one_clear_error(
    small_data, data_dir, folder, monkeypatch
):
    _lost("features.json")(folder)
    before, opened = contents(folder), os.open

    def read_only(path, flags, *arguments, **named):
        if str(path).startswith(str(data_dir)) and flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return opened(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(errors.StoreError, match="Read-only file system"):
        prepare(data_dir, small_data)
    assert contents(folder) == before


@pytest.mark.parametrize("load", [tfds.load, tfds.data_source])
@pytest.mark.parametrize("what", ["no dataset_info.json", "a truncated shard", "nothing in it"])
def test_tfds_load_without_preparing_refuses_remains_by_name(data_dir, folder, what, load):
    damage, why = REMAINS[what]
    damage(folder)
    with pytest.raises(errors.NotPreparedError, match=why):
        load(NAME, data_dir=data_dir, split="train", download=False)


def test_update_of_the_description_of_remains_is_refused(data_dir, folder):
    _cut(DATASET_INFO, 100)(folder)
    before = contents(folder)
    with pytest.raises(errors.NotPreparedError, match=r"dataset_info\.json cannot be read"):
        prepare(data_dir, download_mode=tfds.download.GenerateMode.UPDATE_DATASET_INFO)
    assert contents(folder) == before


def test_truncated_array_record_is_remains(small_data, data_dir):
    builder = prepare(data_dir, small_data, file_format="array_record")
    shard = pathlib.Path(builder.info.splits["train"].filepaths[0])
    shard.write_bytes(shard.read_bytes()[:-100])
    prepare(data_dir, small_data, file_format="array_record")
    assert np.array_equal(pixels(builder), small.arrays("train")[0])


def test_array_records_that_are_too_few_are_remains(small_data, data_dir, tmp_path):
    builder, fewer = (
        prepare(folder, small_data, file_format="array_record", **options)
        for folder, options in ((data_dir, {}), (tmp_path / "7", {"max_examples_per_split": 7}))
    )
    for path in fewer.data_path.glob("*train.array_record*"):
        shutil.copyfile(path, builder.data_path / path.name)
    assert "holds 7 records instead of 60" in version_folder.fault(builder.data_path, NAME)


def test_data_set_that_was_set_aside_is_restored_and_nothing_in_its_place_is_lost(data_dir, folder):
    shutil.copytree(folder, folder.parent / ".1.0.0.replaced-ffffff")
    _lost("features.json")(folder)
    before = contents(folder)
    builder = prepare(data_dir)  # without a source
    assert np.array_equal(pixels(builder), small.arrays("train")[0])
    (kept,) = beside(folder)
    assert kept.startswith("remains.")
    assert contents(folder.parent / kept) == before


def test_what_was_set_aside_and_is_not_complete_is_passed_over(data_dir, folder):
    complete = folder.rename(folder.parent / ".1.0.0.replaced-ffffff")
    _lost("features.json")(shutil.copytree(complete, folder.parent / ".1.0.0.replaced-000000"))
    builder = prepare(data_dir)  # without a source
    assert np.array_equal(pixels(builder), small.arrays("train")[0])


def test_remains_stay_in_their_place_while_there_is_no_source(data_dir, folder):
    _lost("features.json")(folder)
    before = contents(folder)
    with pytest.raises(errors.ObtainError):
        prepare(data_dir)
    assert contents(folder) == before
    assert beside(folder) == []


def test_remains_are_deleted_where_overwriting_is_asked_for(small_data, data_dir, folder):
    _lost("features.json")(folder)
    prepare(data_dir, small_data, download_mode=OVERWRITE)
    assert not version_folder.fault(make(data_dir).data_path, NAME)
    assert beside(folder) == []


def test_older_version_beside_is_left_alone(small_data, data_dir, folder):
    older = folder.parent / "0.9.0"
    folder.rename(older)
    before = contents(older)
    prepare(data_dir, small_data)
    assert contents(older) == before


def test_copy_under_another_name_is_read(folder, tmp_path):
    copy = tmp_path / "a copy of it"
    shutil.copytree(folder, copy)
    builder = tfds.builder_from_directory(str(copy))
    assert prepared.find_builder(NAME, None, builder) is builder
    assert prepared.find_split(builder, "train").examples == small.COUNTS["train"]


# Overwriting


def test_overwrite_without_a_source_leaves_the_data(data_dir, folder):
    before = contents(folder)
    with pytest.raises(errors.ObtainError):
        prepare(data_dir, download_mode=OVERWRITE)
    assert contents(folder) == before
    assert beside(folder) == []


@pytest.mark.parametrize("mode", ["REUSE_CACHE_IF_EXISTS", "FORCE_REDOWNLOAD"])
def test_overwrite_replaces_the_data_and_leaves_nothing_beside(small_data, data_dir, folder, mode):
    mode = tfds.download.GenerateMode[mode]
    builder = prepare(data_dir, small_data, download_mode=mode, num_shards=2)
    assert builder.info.splits["train"].num_shards == 2
    assert all(pathlib.Path(p).exists() for p in builder.info.splits["train"].filepaths)
    assert np.array_equal(pixels(builder), small.arrays("train")[0])
    assert beside(folder) == []


def test_build_overwrite_without_a_source_leaves_the_data(data_dir, folder):
    before = contents(folder)
    assert main.run(["build", "--mirrors=off", f"--data_dir={data_dir}", "--overwrite"]) == 3
    assert contents(folder) == before


@pytest.mark.parametrize("route", ["fmnist_resilient", "fmnist_tfds/datasets/fmnist_resilient"])
def test_tfds_build_overwrite_deletes_nothing_before_it_has_another(data_dir, folder, route):
    # The command's own order of imports; `tfds` itself does not start without the extra `build`.
    code = """
import sys
from tensorflow_datasets.scripts.cli import build
if "/" not in sys.argv[1]:
    import fmnist_tfds
builder_cls, _ = build._get_builder_cls_and_kwargs(sys.argv[1], has_imports="/" not in sys.argv[1])
options = dict(overwrite=True, fail_if_exists=False, data_dir=sys.argv[2])
build._make_builder(builder_cls, **options)
"""
    before = contents(folder)
    command = [sys.executable, "-W", "ignore", "-c", code, route, str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=REPO)
    assert done.returncode == 0, done.stderr
    assert contents(folder) == before


def test_tfds_build_overwrite_still_deletes_other_data_sets(tmp_path):
    class OtherBuilder(tfds.testing.DummyDataset, skip_registration=True):
        name = "other"

    builder = OtherBuilder(data_dir=tmp_path)
    builder.download_and_prepare()
    from tensorflow_datasets.scripts.cli import build

    tfds_command.spare(replacing_builder.ReplacingBuilder)
    build._make_builder(OtherBuilder, overwrite=True, fail_if_exists=False, data_dir=tmp_path)
    assert not builder.data_path.exists()


def test_readers_find_the_data_at_every_moment_of_an_overwrite(
    small_data, data_dir, folder, monkeypatch
):
    moments = []

    def looking(owner, name):
        wrapped = getattr(owner, name)

        def call(*arguments, **named):
            found = prepared.find_builder(NAME, data_dir, None)
            assert prepared.find_split(found, "train").examples == small.COUNTS["train"]
            moments.append(name)
            return wrapped(*arguments, **named)

        monkeypatch.setattr(owner, name, call)

    looking(obtain, "obtain")
    looking(tfrecord, "encode")
    looking(version_folder, "swap")
    looking(version_folder, "discard")
    prepare(data_dir, small_data, download_mode=OVERWRITE)
    assert {"obtain", "encode", "swap", "discard"} <= set(moments)


def test_reader_waits_between_the_two_renames(data_dir, folder, monkeypatch):
    aside = folder.rename(folder.parent / ".1.0.0.replaced-abc123")
    monkeypatch.setattr(prepared.time, "sleep", lambda _: aside.rename(folder))
    assert prepared.find_builder(NAME, data_dir, None).data_path.name == "1.0.0"


def test_running_readers_keep_what_they_opened(small_data, data_dir, folder):
    shard = folder / TRAIN
    before = shard.read_bytes()
    mapped = np.memmap(shard, np.uint8, "r")
    with shard.open("rb") as opened:
        prepare(data_dir, small_data, download_mode=OVERWRITE, max_examples_per_split=7)
        assert shard.stat().st_size < len(before)
        assert opened.read() == before
    assert mapped.tobytes() == before


@pytest.mark.parametrize("what", ["the disk is full", "the proof fails", "the swap fails"])
def test_overwrite_that_fails_leaves_the_data(small_data, data_dir, folder, monkeypatch, what):
    before = contents(folder)
    encode, rename = tfrecord.encode, os.rename

    def full(images, labels):
        raise OSError(errno.ENOSPC, "No space left on device")

    def not_into_place(source, to):
        if pathlib.Path(to) == folder and "incomplete" in str(source):
            raise OSError(errno.EIO, "Input/output error")
        rename(source, to)

    if what == "the disk is full":
        monkeypatch.setattr(tfrecord, "encode", full)
    elif what == "the proof fails":
        monkeypatch.setattr(tfrecord, "encode", lambda i, y: encode(i[::-1], y))
    else:
        monkeypatch.setattr(os, "rename", not_into_place)
    with pytest.raises((errors.StoreError, errors.RecordError)):
        prepare(data_dir, small_data, download_mode=OVERWRITE)
    assert contents(folder) == before
    assert beside(folder) == []


def test_folder_that_cannot_be_renamed_is_one_clear_error(
    small_data, data_dir, folder, monkeypatch
):
    # What Windows says of a folder with an open file in it.
    before, rename = contents(folder), os.rename

    def held(source, to):
        if pathlib.Path(source) == folder:
            raise PermissionError(errno.EACCES, "Access is denied")
        rename(source, to)

    monkeypatch.setattr(os, "rename", held)
    with pytest.raises(errors.StoreError, match=r"cannot replace .*: Access is denied") as caught:
        prepare(data_dir, small_data, download_mode=OVERWRITE)
    assert "end the programs that have its files open" in caught.value.hint
    assert contents(folder) == before
    assert beside(folder) == []


def test_old_data_that_cannot_be_deleted_is_a_warning_and_goes_the_next_time(
    small_data, data_dir, folder, monkeypatch, caplog
):
    remove = shutil.rmtree

    def busy(path, *arguments, **named):
        if ".replaced-" in str(path):
            raise OSError("busy")
        remove(path, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", busy)
        prepare(data_dir, small_data, download_mode=OVERWRITE, num_shards=2)
    assert "cannot be deleted: busy" in caplog.text
    assert len(beside(folder)) == 1
    builder = prepare(data_dir, small_data, download_mode=OVERWRITE, num_shards=3)
    assert builder.info.splits["train"].num_shards == 3
    assert beside(folder) == []


def test_overwrite_of_a_linked_folder_replaces_the_link_alone(small_data, data_dir, folder):
    elsewhere = folder.rename(data_dir / "elsewhere")
    folder.symlink_to(elsewhere)
    assert prepare(data_dir).info.splits["train"].num_examples == small.COUNTS["train"]
    before = contents(elsewhere)
    prepare(data_dir, small_data, download_mode=OVERWRITE, num_shards=2)
    assert contents(elsewhere) == before
    assert not folder.is_symlink()
    assert beside(folder) == []


def test_data_set_that_another_completes_meanwhile_is_taken_over(
    small_data, data_dir, folder, tmp_path, monkeypatch
):
    complete = shutil.copytree(folder, tmp_path / "complete")
    _lost("features.json")(folder)
    encode = tfrecord.encode

    def overtake(images, labels):
        shutil.copytree(complete, folder, dirs_exist_ok=True)
        return encode(images, labels)

    monkeypatch.setattr(tfrecord, "encode", overtake)
    builder = prepare(data_dir, small_data, num_shards=2)
    assert builder.info.splits["train"].num_shards == 1
    assert beside(folder) == []
