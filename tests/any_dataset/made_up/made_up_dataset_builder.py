"""A made-up TFDS data set: a tar.gz, a zip and two files of one name, at addresses of nobody."""

from __future__ import annotations

import gzip
import hashlib
import io
import pathlib
import random
import tarfile
import zipfile

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums

HOST = "http://data.publisher.invalid"
COUNT = 20


def _tar(names_and_bodies):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, body in names_and_bodies:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return gzip.compress(out.getvalue(), mtime=0)


def _zip(names_and_bodies):  # no clock in it: the same bytes in every process
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, body in names_and_bodies:
            archive.writestr(zipfile.ZipInfo(name), body)
    return out.getvalue()


def _numbers(seed, count):
    return random.Random(seed).randbytes(count)


BODIES = {
    f"{HOST}/v1/train.tar.gz": _tar([("train.txt", b"\n".join(b"%d" % i for i in range(COUNT)))]),
    f"{HOST}/v1/test.zip": _zip([("test.txt", b"\n".join(b"%d" % -i for i in range(COUNT)))]),
    f"{HOST}/a/extra.bin?version=1": _numbers(1, 5000),
    f"{HOST}/b/extra.bin?version=1": _numbers(2, 6000),
}


def _pinned(url):
    body = BODIES[url]
    return checksums.UrlInfo(
        size=tfds.core.utils.Size(len(body)),
        checksum=hashlib.sha256(body).hexdigest(),
        filename=url.rpartition("/")[2].partition("?")[0],
    )


class Builder(tfds.core.GeneratorBasedBuilder):
    """Two splits of numbers, two files that are only counted."""

    VERSION = tfds.core.Version("1.0.0")
    url_infos = {url: _pinned(url) for url in BODIES}  # noqa: RUF012 (TFDS asks for a dict)

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"number": tfds.features.Scalar(np.int64)})
        )

    def _split_generators(self, dl_manager):
        archives = dl_manager.download_and_extract(
            {"train": f"{HOST}/v1/train.tar.gz", "test": f"{HOST}/v1/test.zip"}
        )
        extras = dl_manager.download([url for url in BODIES if "extra" in url])
        assert [len(pathlib.Path(path).read_bytes()) for path in extras] == [5000, 6000]
        return {
            split: self._generate_examples(pathlib.Path(folder) / f"{split}.txt")
            for split, folder in archives.items()
        }

    def _generate_examples(self, path):
        for index, line in enumerate(path.read_text().splitlines()):
            yield index, {"number": int(line)}


def write_mirror(folder: pathlib.Path) -> pathlib.Path:
    """A folder with every file under its digest, as `mirror create` makes one."""
    at = folder / "by-hash" / "sha256"
    at.mkdir(parents=True)
    for body in BODIES.values():
        (at / hashlib.sha256(body).hexdigest()).write_bytes(body)
    return folder


def numbers(builder, split):
    return sorted(int(example["number"]) for example in builder.as_data_source(split=split))
