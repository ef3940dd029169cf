"""Damaged shards are refused by name, and what is read is proved genuine."""

import concurrent.futures
import dataclasses
import struct

import numpy as np
import pytest

from fmnist_tfds import catalog, errors, input_pipeline
from fmnist_tfds.input_pipeline.shards import in_memory, prepared, proof

from . import conftest

RECORD = 934
SOURCES = ["resident", "stream"]


def _read(builder, source="resident", **arguments):
    batches = input_pipeline.make_train(100, builder=builder, source=source, **arguments)
    return [labels.numpy() for _, labels in batches]


def _starts(builder):
    """Where each record of the shard starts, in bytes."""
    data, starts = conftest.shard_path(builder).read_bytes(), [0]
    while starts[-1] < len(data):
        (length,) = struct.unpack_from("<Q", data, starts[-1])
        starts.append(starts[-1] + length + 16)
    return starts[:-1]


def test_record_length_is_what_the_offsets_below_assume(tiny):
    assert conftest.shard_path(tiny).stat().st_size == 1000 * RECORD


@pytest.mark.parametrize("source", SOURCES)
def test_verify_accepts_the_genuine_split(tiny, known, source):
    assert len(_read(tiny, source)) == 10


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("record", "offset"),
    [(0, 3), (0, 500), (17, 2), (17, 9), (17, 20), (17, 37), (17, 60), (17, 400), (999, 800)],
)
def test_a_flipped_bit_names_file_and_record(fresh, known, source, record, offset):
    name = conftest.flip(fresh, record * RECORD + offset, 0x01)
    with pytest.raises(errors.RecordError, match=rf"{name}: record {record} of 1,000 is damaged"):
        _read(fresh, source)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kept", [0, 10, 500 * RECORD, 500 * RECORD + 40, 1000 * RECORD - 1])
def test_a_truncated_shard_names_file_and_record(fresh, known, source, kept):
    path = conftest.shard_path(fresh)
    path.write_bytes(path.read_bytes()[:kept])
    wanted = rf"{path.name}: record {kept // RECORD} of 1,000 is damaged: cut short"
    with pytest.raises(errors.RecordError, match=wanted):
        _read(fresh, source)


@pytest.mark.parametrize("source", SOURCES)
def test_bytes_after_the_last_record_are_refused(fresh, known, source):
    path = conftest.shard_path(fresh)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(errors.RecordError, match="4 bytes follow the last record"):
        _read(fresh, source)


def test_a_missing_shard_is_named(fresh):
    path = conftest.shard_path(fresh)
    path.unlink()
    with pytest.raises(errors.RecordError, match=rf"{path.name}: the shard cannot be read"):
        _read(fresh)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(
    ("record", "offset", "why"),
    [
        (0, 150, "its bytes do not match its crc32c"),
        (500, 150, "its bytes do not match its crc32c"),
        (999, 150, "its bytes do not match its crc32c"),
        # A length that leads elsewhere: the next record is not where it should be.
        (500, 0, "cut short"),
    ],
)
def test_a_flipped_bit_in_a_compressed_shard_names_file_and_record(
    tmp_path, monkeypatch, source, is_known, record, offset, why
):
    builder = conftest.prepare(tmp_path, "compressed")
    if is_known:
        monkeypatch.setitem(catalog.DATASETS, builder.name, conftest.make_catalog())
    starts = _starts(builder)
    assert len(set(np.diff(starts))) > 10, "PNGs of one length would hide where records start"
    name = conftest.flip(builder, starts[record] + offset)
    told = record + (why == "cut short")
    wanted = rf"{name}: record {told} of 1,000 is damaged: {why}"
    with pytest.raises(errors.RecordError, match=wanted):
        input_pipeline.make_train(100, builder=builder, source=source)


@pytest.mark.parametrize("source", SOURCES)
def test_intact_data_that_is_not_the_catalogs_is_refused(tiny, known, monkeypatch, source):
    entry = catalog.DATASETS["tiny_clothes"]
    files = tuple(dataclasses.replace(file, payload_sha256="00" * 32) for file in entry.files)
    other = dataclasses.replace(entry, name="other", files=files)
    monkeypatch.setitem(catalog.DATASETS, "tiny_clothes", other)
    with pytest.raises(errors.ContentError, match="not the genuine one, though every record"):
        _read(tiny, source)
    assert len(_read(tiny, source, verify=False)) == 10


@pytest.mark.parametrize("source", SOURCES)
def test_a_part_of_the_split_cannot_be_proved(tiny, monkeypatch, source):
    monkeypatch.setitem(catalog.DATASETS, "tiny_clothes", catalog.FASHION_MNIST)
    with pytest.raises(errors.ContentError, match="whole split of 60,000 examples, and 1,000"):
        _read(tiny, source)


def test_data_outside_the_catalog_is_read_with_a_warning(fresh, caplog):
    assert len(_read(fresh)) == 10
    assert "cannot be proved genuine" in caplog.text


@pytest.mark.parametrize("source", SOURCES)
def test_data_outside_the_catalog_is_checked_against_its_checksums(fresh, source):
    name = conftest.flip(fresh, 41 * RECORD + 500)
    with pytest.raises(errors.RecordError, match=rf"{name}: record 41 of 1,000 is damaged"):
        _read(fresh, source)


@pytest.mark.parametrize("is_known", [True, False])
def test_verify_still_finds_the_damage_after_a_load_without_it(fresh, request, is_known):
    if is_known:
        request.getfixturevalue("known")
    name = conftest.flip(fresh, 41 * RECORD + 500)
    assert len(_read(fresh, verify=False)) == 10
    for _ in range(2):
        with pytest.raises(errors.RecordError, match=rf"{name}: record 41 of 1,000 is damaged"):
            _read(fresh)


def test_a_split_is_in_memory_once_whoever_asks_for_it(tiny):
    split = prepared.find_split(tiny, "train")
    first, second = (in_memory.load(split, tiny, verify=verify) for verify in (False, True))
    assert first.images is second.images
    assert first.labels is second.labels


def test_a_load_that_failed_is_not_kept(tmp_path):
    builder = conftest.prepare(tmp_path, "compressed")
    conftest.flip(builder, conftest.shard_path(builder).stat().st_size // 2)
    loading = in_memory.Loading((prepared.find_split(builder, "train"),), builder, verify=False)
    for _ in range(2):
        with pytest.raises(errors.RecordError, match="is damaged"):
            loading.settle()


def test_a_load_is_whole_where_its_thread_is_done_before_anything_else(tiny, monkeypatch):
    def at_once(function, *arguments):
        future = in_background(function, *arguments)
        concurrent.futures.wait([future])
        return future

    in_background = proof.in_background
    monkeypatch.setattr(proof, "in_background", at_once)
    monkeypatch.setattr(in_memory, "_loaded", {})
    split = prepared.find_split(tiny, "train")
    held = in_memory.Loading((split,), tiny, verify=False).settle()
    np.testing.assert_array_equal(held.images[..., 0], conftest.make_images(1000))


def test_a_replaced_shard_is_read_again(fresh, known):
    assert len(_read(fresh)) == 10
    name = conftest.flip(fresh, 5 * RECORD + 500)
    with pytest.raises(errors.RecordError, match=rf"{name}: record 5 "):
        _read(fresh)
