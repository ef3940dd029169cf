"""identify: every verdict, over real bytes where they are at hand."""

from __future__ import annotations

import gzip
import hashlib
import zlib

import family
import pytest

from fmnist_tfds import artifacts, catalog, errors
from fmnist_tfds.formats import gzip_file, identify

DATASET, BODIES = family.make()
IMAGES, LABELS = DATASET.files[0], DATASET.files[1]
PAYLOAD = gzip.decompress(BODIES[IMAGES.name])


def _verdict(tmp_path, data, expected=IMAGES):
    path = tmp_path / "file"
    path.write_bytes(data)
    return identify.identify(path, dataset=DATASET, expected=expected)


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (BODIES[IMAGES.name], "genuine"),
        (PAYLOAD, "genuine-payload"),
        (gzip.compress(PAYLOAD, 1), "genuine-payload"),
        (gzip.compress(PAYLOAD, 0), "genuine-payload"),
        (gzip.compress(BODIES[IMAGES.name]), "genuine-payload"),
        (BODIES[IMAGES.name] + b"\0" * 512, "genuine-payload"),
        (gzip.compress(PAYLOAD[:100]) + gzip.compress(PAYLOAD[100:]), "genuine-payload"),
        (b"", "truncated"),
        (BODIES[IMAGES.name][:-20], "truncated"),
        (PAYLOAD[:-20], "truncated"),
        (BODIES[IMAGES.name][:200] + b"\xff" * 200 + BODIES[IMAGES.name][400:], "corrupt"),
        (PAYLOAD[:-1] + b"\1\2"[:1], "corrupt"),
        (b"\xef\xbb\xbf  <!DOCTYPE HTML><title>Log in</title>", "html"),
        (gzip.compress(b"<html>blocked</html>", mtime=0), "html"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "lfs-pointer"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "cloud-error"),
        (b"hello", "unknown"),
        (gzip.compress(bytes(10_000_000)), "unknown"),
    ],
)
def test_identify_names_what_arrived(tmp_path, data, verdict):
    assert _verdict(tmp_path, data).verdict == verdict


def test_identify_says_when_labels_lie_where_images_belong(tmp_path):
    found = _verdict(tmp_path, BODIES[LABELS.name])
    assert found.is_genuine
    assert not found.is_file(IMAGES)
    assert "train labels" in found.detail
    assert "where train images belong" in found.detail


def test_identify_names_an_impostor_by_gz_and_by_payload(tmp_path):
    other = b"\0\0\x08\x01\0\0\0\x02\5\6"
    impostor = artifacts.Impostor(
        "impostor:other",
        "Other",
        frozenset({("sha256", hashlib.sha256(other).hexdigest())}),
    )
    dataset = family.with_impostor(DATASET, impostor)
    for data in (other, gzip.compress(other)):
        (tmp_path / "f").write_bytes(data)
        found = identify.identify(tmp_path / "f", dataset=dataset)
        assert found.verdict == "impostor:other"
        assert "Other, not" in found.detail


def test_identify_of_a_dataset_without_canonical_gz_rests_on_the_payload(tmp_path):
    dataset = family.without_gz(DATASET)
    (tmp_path / "f").write_bytes(BODIES[IMAGES.name])
    assert identify.identify(tmp_path / "f", dataset=dataset).verdict == "genuine-payload"


def test_payload_is_the_idx_file_or_a_content_error(tmp_path):
    (tmp_path / "f").write_bytes(BODIES[IMAGES.name])
    assert identify.payload(tmp_path / "f", IMAGES, dataset=DATASET) == PAYLOAD
    with pytest.raises(errors.ContentError, match="train images"):
        identify.payload(tmp_path / "f", LABELS, dataset=DATASET)


def test_real_files_are_genuine_and_come_back_canonical_from_their_payload(real_data, tmp_path):
    for file in catalog.FASHION_MNIST.files:
        found = identify.identify(real_data / file.name, expected=file)
        assert (found.verdict, found.file) == ("genuine", file)
    file = catalog.FASHION_MNIST.files[3]
    data = identify.payload(real_data / file.name, file)
    target = tmp_path / file.name
    if not gzip_file.write(data, file, target):
        pytest.skip("needs GNU gzip")
    assert target.read_bytes() == (real_data / file.name).read_bytes()


def test_own_gz_is_the_same_on_every_run_and_holds_the_payload(tmp_path):
    gzip_file.write_own(PAYLOAD, IMAGES, tmp_path / "a")
    gzip_file.write_own(PAYLOAD, IMAGES, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert zlib.decompress((tmp_path / "a").read_bytes(), wbits=31) == PAYLOAD


def test_gzip_of_many_members_costs_what_its_bytes_cost(tmp_path):
    """Each member used to copy all that follow: 20,000 of them in 30 MB took longer than a job."""
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"") * 20_000 + gzip.compress(bytes(1000)))
    found = identify.identify(tmp_path / "a.gz")
    assert found.verdict == "corrupt"
    assert found.detail == "more than 5,000 gzip members"


def test_members_one_after_the_other_are_one_payload():
    """bgzip and pigz cut a file into members; what stands after them is ignored, as gzip does."""
    parts = [bytes([i]) * 70_000 for i in range(40)]
    packed = b"".join(gzip.compress(part) for part in parts)
    whole = gzip_file.gunzip(packed, 40 * 70_000)
    assert (whole.data, whole.problem, whole.is_plain) == (b"".join(parts), "", False)
    assert gzip_file.gunzip(packed + b"\0" * 512, 40 * 70_000).data == b"".join(parts)
    assert gzip_file.gunzip(packed[:-1], 40 * 70_000).problem == "truncated"
    assert gzip_file.gunzip(packed, 40 * 70_000 - 1).problem == "bomb"
    one = gzip_file.gunzip(gzip.compress(parts[1]), 70_000)
    assert (one.data, one.problem, one.is_plain) == (parts[1], "", True)
    assert not gzip_file.gunzip(gzip.compress(parts[1]) + b"x", 70_000).is_plain
