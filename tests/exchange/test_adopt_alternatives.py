"""Where a guess may be wrong, the cheap alternatives are tried, and the digests decide."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt import adopt


def _adopted(data, tmp_path, **arrays):
    np.savez(tmp_path / "data.npz", **arrays)
    return adopt.adopt(
        tmp_path / "data.npz", tmp_path / "out", dataset=data.dataset, table=data.table
    )


def _is_whole(adoption, data):
    return all(
        gzip.decompress(adoption.files[name].read_bytes()) == payload
        for name, payload in data.payloads.items()
    )


@pytest.mark.parametrize("valid", [40, 20, 60, 1])
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_validation_split_of_any_size_is_taken(standin, tmp_path, valid, is_shuffled):
    """Of 40 rows it is as long as the test split: the number of rows alone pairs nothing."""
    x, y = standin.x_train, standin.y_train
    # The stand-in's labels repeat every ten rows: parts of it must not look like one another.
    order = np.roll(np.arange(len(x)), 3)
    if is_shuffled:
        order = np.random.default_rng(1).permutation(len(x))
    x, y = x[order], y[order]
    adoption = _adopted(
        standin,
        tmp_path,
        x_train=x[:-valid],
        y_train=y[:-valid],
        x_valid=x[-valid:],
        y_valid=y[-valid:],
        x_test=standin.x_test,
        y_test=standin.y_test,
    )
    assert _is_whole(adoption, standin)


@pytest.mark.parametrize("seed", range(4))
def test_parts_of_one_length_under_names_that_tell_nothing_are_brought_together(
    standin, tmp_path, seed
):
    x = np.concatenate([standin.x_train, standin.x_test])
    y = np.concatenate([standin.y_train, standin.y_test])
    order = np.random.default_rng(seed).permutation(len(x))
    parts = np.split(order, 4)  # four arrays of 40 rows
    names = np.random.default_rng(seed).permutation(8)
    arrays = {f"a{names[i]}": x[part] for i, part in enumerate(parts)}
    arrays |= {f"a{names[4 + i]}": y[part] for i, part in enumerate(parts)}
    assert _is_whole(_adopted(standin, tmp_path, **arrays), standin)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 255 - x,
        lambda x: x.transpose(0, 2, 1),
        lambda x: x[:, :, ::-1],
        lambda x: x[:, ::-1],
        lambda x: 255 - x.transpose(0, 2, 1),
        lambda x: ((255 - x) / np.float32(255)).reshape(len(x), -1),
    ],
    ids=["inverted", "transposed", "mirrored", "upside down", "both", "inverted floats"],
)
def test_images_that_somebody_altered_are_taken_as_they_were(standin, tmp_path, change):
    adoption = _adopted(
        standin,
        tmp_path,
        x_train=change(standin.x_train),
        y_train=standin.y_train,
        x_test=change(standin.x_test),
        y_test=standin.y_test,
    )
    assert _is_whole(adoption, standin)


def test_wrong_labels_are_refused_and_what_was_assumed_is_said(standin, tmp_path):
    valid = 40
    with pytest.raises(errors.ContentError) as caught:
        _adopted(
            standin,
            tmp_path,
            x_train=standin.x_train[:-valid],
            y_train=standin.y_train[:-valid],
            x_valid=standin.x_train[-valid:],
            y_valid=(standin.y_train[-valid:] + 1) % 10,
            x_test=standin.x_test,
            y_test=standin.y_test,
        )
    assert "the train labels differ from the original" in str(caught.value)
    assert "labels were taken to belong to the images of as many rows" in str(caught.value)


def test_other_images_are_not_bent_until_they_fit(standin, tmp_path):
    other = np.random.default_rng(9).integers(0, 256, standin.x_train.shape, np.uint8)
    with pytest.raises(errors.ContentError, match="120 of 120 images are none of"):
        _adopted(standin, tmp_path, x_train=other, y_train=standin.y_train)


def _parts(data, lengths):
    """The rows in another order, cut so; labels under names that sort the other way round."""
    x = np.concatenate([data.x_train, data.x_test])
    y = np.concatenate([data.y_train, data.y_test])
    order = np.random.default_rng(2).permutation(len(x))
    parts = np.split(order, np.cumsum(lengths)[:-1])
    images = {f"x{i:02d}": x[part] for i, part in enumerate(parts)}
    return images | {f"y{99 - i:02d}": y[part] for i, part in enumerate(parts)}


def test_more_arrays_of_one_length_than_can_be_tried_are_not_guessed_between(standin, tmp_path):
    said = "6 arrays of 20 labels and 6 of as many images: which belong together is not known"
    with pytest.raises(errors.ContentError, match=said):
        _adopted(standin, tmp_path, **_parts(standin, [20] * 6 + [40]))


def test_more_ways_to_pair_arrays_than_can_be_tried_are_given_up(standin, tmp_path):
    """Two times five arrays: 14,400 ways, each the digest of all labels; the last would fit."""
    with pytest.raises(errors.ContentError, match="labels were taken to belong to the images"):
        _adopted(standin, tmp_path, **_parts(standin, [20] * 5 + [12] * 5))
