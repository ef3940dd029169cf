"""fetch --dataset, mirror create, serve --root, `everywhere`: as a user types them."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.request

import forked
import pytest
import receipt_schema
from made_up import made_up_dataset_builder as made_up

from fmnist_tfds import catalog
from fmnist_tfds.any_dataset import plan, tfds_pins
from fmnist_tfds.cli import main

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    """`made_up` is a data set that TFDS knows."""
    stock = tfds_pins.artifact_set
    ours = plan.artifact_set("made_up", made_up.Builder.url_infos)
    monkeypatch.setattr(
        tfds_pins, "artifact_set", lambda name: ours if name == "made_up" else stock(name)
    )


@pytest.fixture
def mirror(tmp_path):
    return made_up.write_mirror(tmp_path / "mirror")


def test_fetch_of_a_data_set_puts_its_files_where_told(tmp_path, mirror, capsys):
    out = tmp_path / "out"
    line = ["fetch", "--dataset=made_up", f"--mirrors={mirror}", f"--out={out}", "--json"]
    assert main.run(line) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert len(document["files"]) == 4
    assert (out / "train.tar.gz").read_bytes() == made_up.BODIES[f"{made_up.HOST}/v1/train.tar.gz"]
    receipt = json.loads((out / "receipt.json").read_text())
    receipt_schema.check(receipt)
    assert len(receipt["files"]) == 4


def test_fetch_of_a_data_set_that_no_source_has_exits_3_and_lists_all(capsys):
    assert main.run(["fetch", "--dataset=made_up", "--mirrors=off"]) == 3
    said = capsys.readouterr().err
    assert "train.tar.gz" in said
    assert "test.zip" in said


def test_fetch_of_an_unknown_data_set_is_one_message(capsys):
    assert main.run(["fetch", "--dataset=no_such_set"]) == 2
    assert "there is no TFDS data set 'no_such_set'" in capsys.readouterr().err


def test_fetch_of_a_data_set_that_is_made_by_hand_is_one_message(capsys):
    assert main.run(["fetch", "--dataset=cityscapes"]) == 2
    assert "pins no download of 'cityscapes'" in capsys.readouterr().err


def test_stock_data_sets_have_their_files(real_data):
    found = tfds_pins.artifact_set("fashion_mnist")
    digests = {file.name: file.sha256 for file in found.files}
    assert digests == {file.name: file.sha256 for file in catalog.FASHION_MNIST.files}


def test_mirror_is_created_and_served(tmp_path, mirror, capsys):
    out = tmp_path / "out"
    assert main.run(["mirror", "create", "made_up", f"--out={out}", f"--mirrors={mirror}"]) == 0
    said = capsys.readouterr().out
    assert "4 of 4 files" in said
    assert f"--root={out}" in said
    command = [sys.executable, "-m", "fmnist_tfds", "serve", f"--root={out}", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = re.search(r"http://\S+", server.stdout.readline()).group()
            for artifact in plan.artifact_set("made_up", made_up.Builder.url_infos).files:
                for path in (f"by-hash/sha256/{artifact.sha256}", f"made_up/{artifact.name}"):
                    with urllib.request.urlopen(url + path) as answer:
                        assert answer.read() == made_up.BODIES[artifact.url]
            ranged = urllib.request.Request(url + "made_up/test.zip", headers={"Range": "bytes=-5"})
            with urllib.request.urlopen(ranged) as answer:
                assert answer.read() == made_up.BODIES[f"{made_up.HOST}/v1/test.zip"][-5:]
            with urllib.request.urlopen(url) as answer:
                assert "fmnist_tfds.resilient(mirrors=" in answer.read().decode()
        finally:
            server.kill()


def test_mirror_that_lacks_a_file_says_which_and_exits_3(tmp_path, mirror, capsys):
    sha256 = made_up.Builder.url_infos[f"{made_up.HOST}/v1/test.zip"].checksum
    (mirror / "by-hash" / "sha256" / sha256).unlink()
    line = ["mirror", "create", "made_up", f"--out={tmp_path / 'out'}", f"--mirrors={mirror}"]
    assert main.run(line) == 3
    captured = capsys.readouterr()
    assert "test.zip" in captured.err
    assert "3 of 4 files" in captured.out


def test_serve_of_a_folder_that_is_no_mirror_is_one_message(tmp_path, capsys):
    assert main.run(["serve", f"--root={tmp_path}", "--port=0"]) == 2
    assert "no mirror folder" in capsys.readouterr().err


def test_doctor_looks_at_the_hosts_of_a_data_set(mirror, loopback, capsys, monkeypatch):
    served = loopback(mirror)
    # The data set's own host, played by the loopback server.
    plays = {
        url.replace(made_up.HOST, served.url.rstrip("/")): info
        for url, info in made_up.Builder.url_infos.items()
    }
    for url in plays:
        path = mirror / url.removeprefix(served.url).partition("?")[0]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(made_up.BODIES[url.replace(served.url.rstrip("/"), made_up.HOST)])
    here = plan.artifact_set("made_up", plays)
    monkeypatch.setattr(tfds_pins, "artifact_set", lambda name: here)
    assert main.run(["doctor", "--dataset=made_up", "--mirrors=default", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (source,) = document["sources"]
    assert source["url"] == served.url
    assert sorted(source["serves"]) == sorted(file.name for file in here.files)


def test_doctor_says_what_stands_before_the_host_of_a_data_set(closed_port, capsys, monkeypatch):
    url = f"http://127.0.0.1:{closed_port}/v1/train.tar.gz"
    info = made_up.Builder.url_infos[f"{made_up.HOST}/v1/train.tar.gz"]
    monkeypatch.setattr(
        tfds_pins, "artifact_set", lambda name: plan.artifact_set("made_up", {url: info})
    )
    line = ["doctor", "--dataset=made_up", "--mirrors=default", "--deadline_s=20"]
    assert main.run([*line, "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert [source["cause"] for source in document["sources"]] == ["connect-refused"]
    assert "mirror create made_up" in json.dumps(document["remedies"])
    assert main.run([*line, "--allowlist"]) == 0
    letter = capsys.readouterr().out
    assert "one public file" in letter
    assert info.checksum in letter
    assert "doctor --dataset=made_up" in letter
    assert "MIT" not in letter


_EVERYWHERE = """
import tensorflow_datasets as tfds
import fmnist_tfds.everywhere
from made_up import made_up_dataset_builder as made_up

builder = made_up.Builder(data_dir="data", file_format="array_record")
builder.download_and_prepare()
print(len(made_up.numbers(builder, "train")))
"""


def test_importing_everywhere_switches_it_on_also_for_two_processes_at_once(tmp_path, mirror):
    environment = {**os.environ, "FMNIST_TFDS_MIRRORS": str(mirror), "PYTHONPATH": str(HERE)}
    code = _EVERYWHERE.replace('"data"', '__import__("sys").argv[1]')

    def run(name):
        return forked.run("-c", code, name, environ=environment, cwd=tmp_path)

    with concurrent.futures.ThreadPoolExecutor() as threads:
        for done in threads.map(run, ("one", "two")):
            assert done.stdout.split()[-1:] == ["20"], done.stderr


def test_stock_fashion_mnist_is_prepared_from_the_real_files_and_read_without_a_network(
    tmp_path, real_data
):
    script = (
        "import fmnist_tfds, tensorflow_datasets as tfds\n"
        f"with fmnist_tfds.resilient(mirrors=[{str(real_data)!r}], offline=True):\n"
        "    builder = tfds.builder('fashion_mnist', data_dir='data')\n"
        "    few = tfds.download.DownloadConfig(max_examples_per_split=50)\n"
        "    builder.download_and_prepare(download_config=few)\n"
        "from fmnist_tfds.input_pipeline import make_train\n"
        "train = make_train(10, data_dir='data', name='fashion_mnist')\n"
        "print(sum(len(y) for _, y in train), builder.info.splits['test'].num_examples)"
    )
    done = forked.run("-c", script, cwd=tmp_path)
    assert done.stdout.splitlines()[-1:] == ["50 50"], done.stderr[-2000:]


_BEAM = """
import apache_beam as beam
import numpy as np
import tensorflow_datasets as tfds
import fmnist_tfds
from made_up import made_up_dataset_builder as made_up

EXTRA = f"{made_up.HOST}/a/extra.bin?version=1"


class Numbers(beam.DoFn):
    def __init__(self, manager):
        self.manager = manager

    def process(self, line):
        # In a worker: the manager was pickled, and downloads there.
        yield int(line), {"number": int(line) + len(self.manager.download(EXTRA).read_bytes())}


class Counted(made_up.Builder, skip_registration=True):
    name = "counted"
    url_infos = made_up.Builder.url_infos

    def _info(self):
        number = tfds.features.Scalar(np.int64)
        features = tfds.features.FeaturesDict({"number": number})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        folder = dl_manager.download_and_extract(f"{made_up.HOST}/v1/train.tar.gz")
        lines = (folder / "train.txt").read_text().splitlines()
        return {"train": beam.Create(lines) | beam.ParDo(Numbers(dl_manager))}


with fmnist_tfds.resilient():
    builder = Counted(data_dir="data", file_format="array_record")
    options = beam.options.pipeline_options.PipelineOptions(["--direct_num_workers=1"])
    config = tfds.download.DownloadConfig(beam_options=options, beam_runner="DirectRunner")
    builder.download_and_prepare(download_config=config)
print(min(made_up.numbers(builder, "train")))
"""


@pytest.mark.needs_build
def test_beam_pipeline_downloads_in_its_workers(tmp_path, mirror):
    environ = {**os.environ, "FMNIST_TFDS_MIRRORS": str(mirror), "PYTHONPATH": str(HERE)}
    done = forked.run("-c", _BEAM, environ=environ, cwd=tmp_path)
    assert done.stdout.splitlines()[-1:] == ["5000"], done.stderr[-2000:]


@pytest.mark.needs_build
def test_stock_command_builds_through_the_mirror(tmp_path, real_data):
    done = forked.run(
        *(*forked.TFDS, "build", "fashion_mnist", "--imports=fmnist_tfds.everywhere"),
        f"--data_dir={tmp_path / 'data'}",
        "--max_examples_per_split=100",  # all four files are fetched and read all the same
        environ={**os.environ, "FMNIST_TFDS_MIRRORS": str(real_data)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "data" / "fashion_mnist" / "3.0.1" / "dataset_info.json").is_file()
