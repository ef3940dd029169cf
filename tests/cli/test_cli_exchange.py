"""adopt, plant, bundle, serve as commands: where they write, what they refuse and print."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile

import pytest

from fmnist_tfds import catalog
from fmnist_tfds.cli import main

NAMES = [file.name for file in catalog.FASHION_MNIST.files]
pytestmark = pytest.mark.usefixtures("own_home")


def contents(folder):
    return {name: (folder / name).read_bytes() for name in NAMES}


@pytest.fixture(scope="module")
def bundle(real_data, tmp_path_factory):
    """A bundle of the real files."""
    path = tmp_path_factory.mktemp("bundle") / "f.zip"
    assert main.run(["bundle", "export", str(path), f"--mirrors={real_data}"]) == 0
    return path


def test_adopted_files_are_what_fetch_finds_without_a_network(real_data, tmp_path, capsys):
    cache = tmp_path / "cache"
    assert main.run(["adopt", str(real_data), f"--cache_dir={cache}", "--json"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["ok"] is True
    assert sorted(document["files"]) == sorted(NAMES)
    assert document["form"] == "gzip > IDX"
    assert main.run(["fetch", "--offline", f"--cache_dir={cache}", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert {name: entry["path"] for name, entry in files.items()} == document["files"]


def test_adopt_writes_to_the_cache_of_the_settings_or_to_out(
    real_data, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main.run(["adopt", str(real_data)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "adopted from gzip > IDX"
    assert len(lines) == 5
    assert main.run(["fetch", "--offline"]) == 0
    assert list(tmp_path.iterdir()) == []
    flags = ["--out=out", "--cache_dir=cache"]
    assert main.run(["adopt", str(real_data), *flags]) == 0
    assert contents(tmp_path / "out") == contents(real_data)
    assert main.run(["fetch", "--offline", "--cache_dir=cache"]) == 0, "what was proved is kept"


def test_partial_copy_is_not_adopted_and_leaves_nothing(real_data, tmp_path, capsys):
    part = tmp_path / "part"
    part.mkdir()
    for name in NAMES[:3]:
        (part / name).symlink_to(real_data / name)
    out = tmp_path / "out"
    assert main.run(["adopt", str(part), f"--out={out}", "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert "found 0 of 10,000 test labels" in document["error"]["message"]
    assert not out.exists()


def test_plant_keeps_what_differs_unless_told_to_overwrite(real_data, tmp_path, capsys):
    root = tmp_path / "keras"
    at = root / "datasets" / "fashion-mnist" / NAMES[1]
    at.parent.mkdir(parents=True)
    at.write_bytes(b"mine")
    flags = ["keras", f"--root={root}", f"--mirrors={real_data}", "--verbosity=-1"]
    assert main.run(["plant", *flags]) == 3
    said = capsys.readouterr()
    assert str(at) in said.err
    assert "--overwrite" in said.err
    assert [path.name for path in at.parent.iterdir()] == [at.name]
    assert at.read_bytes() == b"mine"
    assert main.run(["plant", *flags, "--overwrite"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("written  ") == 4
    assert f"KERAS_HOME={root}" in out
    assert contents(at.parent) == contents(real_data)
    assert main.run(["plant", *flags]) == 0
    assert capsys.readouterr().out.count("kept  ") == 4


def test_plant_without_a_root_finds_the_tools_own(real_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert main.run(["plant", "keras", f"--mirrors={real_data}"]) == 0
    assert capsys.readouterr().err.count(": verified, from ") == 4, "it is not to be quiet"
    assert contents(tmp_path / "datasets" / "fashion-mnist") == contents(real_data)


def test_bundle_is_imported_to_out_and_into_the_cache(bundle, real_data, tmp_path, capsys):
    assert main.run(["bundle", "import", str(bundle), f"--out={tmp_path / 'out'}"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in NAMES]
    assert contents(tmp_path / "out") == contents(real_data)
    assert main.run(["fetch", "--offline"]) == 0, "what was proved is in the cache too"
    cache = f"--cache_dir={tmp_path / 'cache'}"
    assert main.run(["bundle", "import", str(bundle), cache]) == 0
    assert main.run(["fetch", "--offline", cache]) == 0


def test_damaged_bundle_is_not_imported_though_its_data_is_whole(bundle, tmp_path, capsys):
    with zipfile.ZipFile(bundle) as archive:
        at = archive.getinfo("LICENSE").header_offset + 60
    damaged = bytearray(bundle.read_bytes())
    damaged[at] ^= 1
    (tmp_path / "f.zip").write_bytes(damaged)
    out = tmp_path / "out"
    assert main.run(["bundle", "import", str(tmp_path / "f.zip"), f"--out={out}"]) == 4
    said = capsys.readouterr()
    assert (said.out, "LICENSE" in said.err) == ("", True)
    assert "carry it over again" in said.err
    assert not out.exists()


def test_other_zip_of_the_four_files_is_no_bundle(real_data, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        for name in NAMES:
            archive.write(real_data / name, name)
    out = tmp_path / "out"
    assert main.run(["bundle", "import", str(tmp_path / "f.zip"), f"--out={out}"]) == 4
    assert "`fmnist-tfds adopt` takes copies that are no bundle" in capsys.readouterr().err
    assert not out.exists()


@pytest.fixture
def serving(real_data):
    """Starts `serve` with these flags in a process; gives the process and its first line."""
    started = []

    def start(*flags):
        # A shell's background job ignores SIGINT, and so would its child.
        code = (
            "import signal, sys\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from fmnist_tfds.cli import main as cli\n"
            "cli.main(sys.argv[1:])\n"
        )
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", code, "serve", f"--mirrors={real_data}", *flags],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1], started[-1].stdout.readline()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_serve_is_for_this_machine_alone_unless_told_otherwise(serving, real_data):
    process, line = serving("--port=0")
    port = int(re.match(r"serving http://127\.0\.0\.1:(\d+)/ ", line)[1])
    assert "for this machine alone" in process.stdout.readline()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{NAMES[3]}", timeout=300) as answer:
        assert answer.read() == (real_data / NAMES[3]).read_bytes()
    # Every address of 127/8 is this machine: a server on all interfaces would answer on this one.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=300)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_serve_listens_where_it_is_told(serving):
    with socket.create_server(("127.0.0.3", 0)) as free:  # nobody else is given its ports
        port = free.getsockname()[1]
    process, line = serving("--host=127.0.0.3", f"--port={port}")
    assert line.startswith(f"serving http://127.0.0.3:{port}/ ")
    assert f"FMNIST_TFDS_MIRRORS=http://127.0.0.3:{port}/" in process.stdout.readline()


def test_serve_at_a_port_that_is_taken_is_one_message(real_data, capsys):
    with socket.create_server(("127.0.0.4", 0)) as taken:
        port = taken.getsockname()[1]
        flags = ["--host=127.0.0.4", f"--port={port}", f"--mirrors={real_data}"]
        assert main.run(["serve", *flags]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert f"cannot listen on 127.0.0.4, port {port}" in said.err
