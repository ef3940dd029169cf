"""Plain artifacts: any file pinned by size and digest is obtained as the four files are."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import random
import subprocess
import sys

import family
import jobs
import pytest

from fmnist_tfds import artifacts, obtain

REPO = pathlib.Path(__file__).resolve().parents[2]
PAGE = b"<!doctype html><html><title>Log in</title></html>"


def artifact(name: str, body: bytes) -> artifacts.Artifact:
    return artifacts.Artifact(
        name=name, size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest()
    )


def wanted(*files: artifacts.Artifact) -> artifacts.ArtifactSet:
    return artifacts.ArtifactSet(name="any", title="any", files=files)


BODY = random.Random(1).randbytes(300_000)
FILE = dataclasses.replace(artifact("data.tar", BODY), url="https://a.example/data.tar?v=1")


def _obtained(tmp_path, *mirrors, file=FILE, **more):
    return obtain.obtain(jobs.options(tmp_path, *mirrors, **more), dataset=wanted(file))


def test_placeholders_of_a_template_hold_what_is_known_and_else_nothing():
    known = FILE.placeholders()
    assert (known["filename"], known["size"], known["sha256"]) == (
        "data.tar",
        "300000",
        FILE.sha256,
    )
    assert known["url_sha256"] == hashlib.sha256(FILE.url.encode()).hexdigest()
    unknown = artifacts.Artifact(name="data.tar", size_bytes=0, sha256="").placeholders()
    assert {name for name, value in unknown.items() if value} == {"filename"}


def test_artifact_is_obtained_from_a_mirror_and_then_from_the_cache(tmp_path):
    with family.Mirror({"data.tar": BODY}) as mirror:
        first = _obtained(tmp_path, mirror.url)
        second = _obtained(tmp_path, mirror.url)
    assert first.error is None
    assert first.files["data.tar"].path.read_bytes() == BODY
    assert first.files["data.tar"].sha256 == FILE.sha256
    record = first.receipt["files"]["data.tar"]
    assert (record["sha256"], record["url"]) == (FILE.sha256, FILE.url)
    assert record["source"] == f"{mirror.url}data.tar"
    assert second.files["data.tar"].source == "cache"
    assert mirror.names() == ["data.tar"]


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (PAGE, {"captive-portal", "wrong-content"}),
        (BODY[:-1] + b"?", {"checksum-mismatch"}),
        (BODY[:1000], {"truncated"}),
        (BODY + BODY, {"too-large", "wrong-content"}),
    ],
    ids=["a page", "one byte", "the start", "too much"],
)
def test_wrong_bytes_are_refused_and_the_next_mirror_is_asked(tmp_path, answer, cause):
    with (
        family.Mirror({"data.tar": answer}) as wrong,
        family.Mirror({"data.tar": BODY}) as right,
    ):
        result = _obtained(tmp_path, wrong.url, right.url)
    found = result.files["data.tar"]
    assert found.path.read_bytes() == BODY
    assert {a.cause for a in found.attempts if a.outcome == "failed"} & cause


def test_artifact_that_is_a_web_page_itself_is_taken_by_its_digest(tmp_path):
    page = artifact("index.html", PAGE)
    with family.Mirror({"index.html": PAGE}) as mirror:
        result = _obtained(tmp_path, mirror.url, file=page)
    assert result.files["index.html"].path.read_bytes() == PAGE


def test_files_of_one_name_do_not_take_each_others_place(tmp_path):
    other = BODY[::-1]
    results = []
    for body in (BODY, other):
        with family.Mirror({"data.tar": body}) as mirror:
            results.append(_obtained(tmp_path, mirror.url, file=artifact("data.tar", body)))
    assert [r.files["data.tar"].path.read_bytes() for r in results] == [BODY, other]


def test_broken_download_goes_on_where_it_stopped(tmp_path):
    sent = []

    def breaks_once(handler, name, body):
        if not sent:
            sent.append(name)
            jobs.cut(handler, body, 200_000)
        else:
            family.ranged(handler, name, body)

    with family.Mirror({"data.tar": BODY}, breaks_once) as mirror:
        result = _obtained(tmp_path, mirror.url)
    assert result.files["data.tar"].path.read_bytes() == BODY
    taken = [a.bytes for a in result.files["data.tar"].attempts]
    assert taken[0] > 0
    assert sum(taken) == len(BODY)


def test_manual_dir_is_searched_by_name_and_by_digest(tmp_path):
    folder = tmp_path / "manual" / "deep"
    folder.mkdir(parents=True)
    (folder / "renamed by a browser (1).tar").write_bytes(BODY)
    (folder / "same size").write_bytes(BODY[::-1])
    result = _obtained(tmp_path, offline=True, manual_dir=tmp_path / "manual")
    assert result.error is None
    assert result.files["data.tar"].path.name == "renamed by a browser (1).tar"


def test_what_no_source_has_is_one_error_that_names_file_and_size(tmp_path):
    with family.Mirror({}) as mirror:
        result = _obtained(tmp_path, mirror.url, attempts=1)
    assert "data.tar (300,000 bytes)" in str(result.error)
    assert "not-found" in str(result.error)


_LARGE = """
import hashlib, pathlib, resource, sys
sys.path.insert(0, sys.argv[3])
from fmnist_tfds import artifacts, obtain
from fmnist_tfds.config import settings
import requests, truststore, filelock
from fmnist_tfds.download.policy import downloader

size = int(sys.argv[2])
digest, left = hashlib.sha256(), size
while left:
    digest.update(bytes(min(left, 1 << 20)))
    left -= min(left, 1 << 20)
file = artifacts.Artifact(name="large.bin", size_bytes=size, sha256=digest.hexdigest())
wanted = artifacts.ArtifactSet(name="any", title="any", files=(file,))
options = settings.Settings((settings.Mirror(sys.argv[1]),), pathlib.Path("cache"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = obtain.obtain(options, dataset=wanted)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(result.error, (after - before) // 1024)
"""


def test_file_of_300_mb_takes_little_memory(tmp_path, loopback):
    root = tmp_path / "root"
    root.mkdir()
    size = 300 << 20
    with (root / "large.bin").open("wb") as sparse:
        sparse.truncate(size)
    served = loopback(root)
    command = [sys.executable, "-c", _LARGE, served.url, str(size), str(REPO)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    error, _, mib = done.stdout.strip().rpartition(" ")
    assert error == "None", done.stderr
    assert int(mib) < 60
