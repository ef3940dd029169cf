"""What adopting leaves behind: the four proved files under their names, or nothing at all."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import resource

import containers as made
import numpy as np
import pytest

from fmnist_tfds import artifacts, errors
from fmnist_tfds.exchange.adopt import adopt

IMAGES, LABELS = made.NAMES[0], made.NAMES[1]


def adopt_it(data, path, out):
    return adopt.adopt(path, out, dataset=data.dataset, table=data.table)


def refused(data, path, match):
    with pytest.raises(errors.ContentError, match=match):
        adopt_it(data, path, path.parent / "out")
    assert not (path.parent / "out").exists()


def test_adopted_files_take_the_place_of_links_and_never_write_through_them(standin, tmp_path):
    source = made.write_all(tmp_path / "in", standin.gz)
    out = tmp_path / "out"
    out.mkdir()
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_bytes(b"mine")
    other.write_bytes(b"other")
    (out / IMAGES).symlink_to(mine)
    (out / LABELS).hardlink_to(other)
    (out / made.NAMES[2]).symlink_to(tmp_path / "nowhere")
    with (out / LABELS).open("rb") as reader:
        adopt_it(standin, source, out)
        assert reader.read() == b"other", "a reader sees the old file or the new one, whole"
    assert (mine.read_bytes(), other.read_bytes()) == (b"mine", b"other")
    assert not (tmp_path / "nowhere").exists()
    for name in made.NAMES:
        assert not (out / name).is_symlink()
        assert (out / name).read_bytes() == standin.gz[name]


def test_every_file_is_on_the_disk_before_it_gets_its_name(standin, tmp_path, synced):
    out = tmp_path / "out"
    adopt_it(standin, made.write_all(tmp_path / "in", standin.gz), out)
    assert {path.stat().st_ino for path in out.iterdir()} <= synced


@pytest.mark.parametrize("left_out", range(4))
def test_copy_that_lacks_a_file_leaves_nothing_behind(left_out, standin, tmp_path):
    held = {n: c for i, (n, c) in enumerate(standin.gz.items()) if i != left_out}
    split, kind = ("train", "test")[left_out // 2], ("images", "labels")[left_out % 2]
    refused(standin, made.write_all(tmp_path / "in", held), rf"found 0 of \d+ {split} {kind}")


def test_publishing_that_fails_is_one_error_and_leaves_no_scratch(standin, tmp_path):
    source = made.write_all(tmp_path / "in", standin.gz)
    out = tmp_path / "out"
    (out / "receipt.json").mkdir(parents=True)
    with pytest.raises(errors.StoreError, match=r"adopting failed: Is a directory"):
        adopt_it(standin, source, out)
    assert not [p for p in out.iterdir() if p.name.startswith(".")]


def test_receipt_comes_last_and_never_speaks_of_files_that_are_not_there(standin, tmp_path):
    source = made.write_all(tmp_path / "in", standin.gz)
    for name in made.NAMES:
        out = tmp_path / name
        (out / name).mkdir(parents=True)
        with pytest.raises(errors.StoreError, match=r"adopting failed: Is a directory"):
            adopt_it(standin, source, out)
        assert not (out / "receipt.json").exists()


def test_file_of_no_known_form_is_shown_by_its_first_bytes(standin, tmp_path):
    path = tmp_path / "mine"
    path.write_bytes(b"\x01\x02 nothing of ours")
    refused(standin, path, r"mine: nothing known here \(it starts with b'\\x01\\x02 nothing")


def test_receipt_gives_the_digests_of_the_files_that_lie_beside_it(standin, tmp_path):
    # Genuine, of the canonical length, and yet not the canonical file: another time in its header.
    packed = {}
    for name, canonical in standin.gz.items():
        own = bytearray(canonical)
        own[4] ^= 1
        packed[name] = bytes(own)
        assert gzip.decompress(own) == gzip.decompress(canonical)
    packed[LABELS] = standin.gz[LABELS]
    out = tmp_path / "out"
    adopt_it(standin, made.write_all(tmp_path / "in", packed), out)
    receipt = json.loads((out / "receipt.json").read_text())
    for file in standin.dataset.files:
        entry = receipt["files"][file.name]
        data = (out / file.name).read_bytes()
        assert entry["file_sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["payload_sha256"] == hashlib.sha256(gzip.decompress(data)).hexdigest()
        assert entry["gz_sha256"] == (file.sha256 if entry["canonical_gz"] else None)
    assert receipt["files"][LABELS]["canonical_gz"] is True
    assert receipt["files"][IMAGES]["canonical_gz"] is False


CHANGED = {
    "moved by one": lambda x: np.roll(x, 1, axis=2),
    "rounded": lambda x: x & 0xFE,
}


@pytest.mark.parametrize("change", CHANGED)
def test_changed_pixels_are_refused_even_in_the_original_order(change, standin, tmp_path):
    (tmp_path / "in").mkdir()
    x, u = (np.ascontiguousarray(CHANGED[change](a)) for a in (standin.x_train, standin.x_test))
    np.savez(tmp_path / "in" / "a.npz", x=x, y=standin.y_train, u=u, v=standin.y_test)
    refused(standin, tmp_path / "in", "none of the stand-in")


def test_known_other_data_set_is_called_by_its_name(standin, tmp_path):
    payload = standin.payloads[LABELS][:-1] + b"\x09"
    digests = frozenset({("sha256", hashlib.sha256(payload).hexdigest())})
    other = artifacts.Impostor("other", "another data set", digests)
    dataset = dataclasses.replace(standin.dataset, impostors=(other,))
    path = tmp_path / "labels"
    path.write_bytes(payload)
    with pytest.raises(errors.ContentError, match="labels: this is another data set"):
        adopt.adopt(path, tmp_path / "out", dataset=dataset, table=standin.table)


def test_labels_are_not_blamed_where_images_are_others(standin, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    x, y = made.shuffled(standin.x_train, standin.y_train)
    x[0] ^= 1
    np.savez(folder / "a.npz", x=x, y=np.roll(y, 1))
    with pytest.raises(errors.ContentError, match=r"1 of .* images are none of") as caught:
        adopt_it(standin, folder, tmp_path / "out")
    assert "labels were taken" not in str(caught.value)


def test_of_many_refusals_three_are_shown_and_the_others_are_counted(standin, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(5):
        np.save(tmp_path / "in" / f"{i}.npy", np.array([{}]), allow_pickle=True)
    refused(standin, tmp_path / "in", r"0\.npy: .*; 1\.npy: .*; 2\.npy: .*; and 2 more such files")


def test_splits_that_are_swapped_or_labels_of_another_order_are_refused(standin, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    np.savez(
        folder / "a.npz",
        x=standin.x_train,
        y=np.roll(standin.y_train, 1),
        u=standin.x_test,
        v=standin.y_test,
    )
    refused(standin, folder, "train labels differ from the original")


def test_column_major_arrays_are_read_as_what_they_are(standin, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, array in zip("xyuv", standin.arrays, strict=True):
        np.save(folder / f"{name}.npy", np.asfortranarray(array))
    assert b"'fortran_order': True" in (folder / "x.npy").read_bytes()[:128]
    adoption = adopt_it(standin, folder, tmp_path / "out")
    for name, payload in standin.payloads.items():
        assert gzip.decompress(adoption.files[name].read_bytes()) == payload


def test_two_arrays_of_labels_beside_shuffled_images_are_not_guessed_between(standin, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    x, y = made.shuffled(standin.x_train, standin.y_train)
    u, v = made.shuffled(standin.x_test, standin.y_test)
    np.savez(folder / "a.npz", x=x, a=y, b=np.roll(y, 1), u=u, v=v)
    refused(standin, folder, "found 0 of 120 train labels")


def test_nearest_folder_that_names_a_class_decides(standin, tmp_path):
    files = {}
    for split, x, y in standin.splits:
        for i, (image, label) in enumerate(zip(made.quick_pngs(x), y, strict=True)):
            files[f"3/{split}/{standin.dataset.class_names[label].replace('/', '-')}/{i}.png"] = (
                image
            )
    adoption = adopt_it(standin, made.write_all(tmp_path / "in", files), tmp_path / "out")
    for name, payload in standin.payloads.items():
        assert gzip.decompress(adoption.files[name].read_bytes()) == payload


def test_negative_and_fractional_numbers_never_wrap_into_bytes(standin, tmp_path):
    for value, dtype, match in (
        (-1, np.int16, "holds the value -1, outside"),
        (-1.0, np.float32, "holds the value -1, outside"),
        (1000, np.int64, "holds the value 1000, outside"),
        (12.5, np.float64, "not whole numbers"),
        (np.inf, np.float64, "NaN or infinite"),
    ):
        folder = tmp_path / str(value)
        (folder / "in").mkdir(parents=True)
        images = standin.x_train.astype(dtype)
        images[-1, -1, -1] = value
        np.save(folder / "in" / "x.npy", images)
        refused(standin, folder / "in", match)


@pytest.mark.parametrize("depth", [1, 2])
def test_bomb_never_takes_more_of_the_disk_than_the_data_could(depth, standin, tmp_path):
    packed = bytes(64 << 20)
    for _ in range(depth):
        packed = gzip.compress(packed, 1)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.gz").write_bytes(packed)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, limits[1]))  # it may unpack to 18 MB
    try:
        refused(standin, tmp_path / "in", "more than this data set takes in any form")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_images_of_something_else_among_the_rows_spoil_none_of_them(standin, tmp_path):
    x = np.concatenate([standin.x_train, standin.x_test])
    y = np.concatenate([standin.y_train, standin.y_test])
    folder = tmp_path / "in"
    folder.mkdir()
    # The last rows, then unknown rows, then the rest: these have no place.
    np.savez(folder / "a.npz", x=x[:-21:-1], y=y[:-21:-1])
    np.savez(folder / "b.npz", x=255 - x[:30], y=y[:30])
    np.savez(folder / "c.npz", x=x[-21::-1], y=y[-21::-1])
    adoption = adopt_it(standin, folder, tmp_path / "out")
    for name, payload in standin.payloads.items():
        assert gzip.decompress(adoption.files[name].read_bytes()) == payload


def test_folders_and_files_behind_links_are_read(standin, tmp_path):
    elsewhere = made.write_all(tmp_path / "elsewhere", standin.gz)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "data").symlink_to(elsewhere)
    adoption = adopt_it(standin, folder, tmp_path / "out")
    assert {n: p.read_bytes() for n, p in adoption.files.items()} == standin.gz
    again = adopt_it(standin, folder / "data" / ".." / "elsewhere", tmp_path / "again")
    assert again.form == adoption.form
