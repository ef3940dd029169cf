"""Exit codes, and what goes to stdout and to stderr, for every command and kind of failure."""

from __future__ import annotations

import gzip
import json
import logging
import os
import pathlib
import subprocess
import sys

import pytest

from fmnist_tfds import catalog, errors
from fmnist_tfds.cli import main, output

REPO = pathlib.Path(__file__).resolve().parents[2]
NAMES = [file.name for file in catalog.FASHION_MNIST.files]
pytestmark = pytest.mark.usefixtures("own_home")
LONG = "a" * 300  # no file system takes this as a name


@pytest.fixture
def folder(tmp_path):
    """Files that are not Fashion-MNIST, under names that could be."""
    (tmp_path / "page-idx3.gz").write_bytes(b"<!DOCTYPE html><html>log in</html>")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.toml").write_text("[[mirrors]]\nurll = 'x'\n")
    return tmp_path


FAILURES = [
    ("fetch --offline", 3, "obtain"),
    ("fetch --mirrors=file:///no/such/folder", 3, "obtain"),
    ("fetch --offline --out={d}/file/out", 3, "obtain"),
    ("fetch --mirrors=" + LONG, 2, "config"),
    ("fetch --config_file={d}/bad.toml", 2, "config"),
    ("fetch --config_file={d}/none.toml", 2, "config"),
    ("fetch --deadline_s=0", 2, "config"),
    ("fetch --deadline_s=soon", 2, "config"),
    ("fetch --no_such_flag", 2, "config"),
    ("fetch data", 2, "config"),
    ("fetch --manual_dir=" + LONG, 1, "error"),
    ("verify", 2, "config"),
    ("verify {d}/none", 2, "config"),
    ("verify {d}/empty", 2, "config"),
    ("verify /proc/self/mem", 2, "config"),
    ("verify " + LONG, 1, "error"),
    ("adopt", 2, "config"),
    ("adopt {d}/none", 2, "argument"),
    ("adopt {d}/page-idx3.gz", 4, "content"),
    ("adopt {d}/empty", 4, "content"),
    ("adopt {d}/page-idx3.gz --out={d}/file/out", 3, "store"),
    ("doctor --mirrors=corp", 2, "config"),
    ("doctor --mirrors=off --html={d}/none/report.html", 2, "config"),
    # Commands that take no --json say so in the form that was asked for.
    ("config", 2, "config"),
    ("plant keras", 2, "config"),
    ("bundle import {d}/none", 2, "config"),
    ("serve", 2, "config"),
    ("quickstart", 2, "config"),
    ("benchmark", 2, "config"),
    ("completion bash", 2, "config"),
    ("fetsch", 2, "config"),
]


@pytest.mark.parametrize(("line", "code", "reference"), FAILURES)
def test_failure_is_one_json_document_on_stdout_and_one_message_on_stderr(
    line, code, reference, folder, capfd
):
    arguments = line.format(d=folder).split()
    assert main.run([*arguments, "--json"]) == code
    said = capfd.readouterr()
    document = json.loads(said.out)
    assert document["ok"] is False
    assert document["error"]["reference"] == reference
    assert document["error"]["message"]
    assert isinstance(document["error"]["hint"], str)
    assert "Traceback" not in said.err
    assert '"ok"' not in said.err
    if not {"config", "plant", "bundle", "serve", "quickstart", "benchmark", "completion"} & {
        arguments[0]
    }:
        assert main.run(arguments) == code
        plain = capfd.readouterr()
        assert plain.out == ""
        assert plain.err.count("error: ") == 1
        assert document["error"]["message"].split("\n")[0] in plain.err
        assert ("hint: " in plain.err) == bool(document["error"]["hint"])


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("plant keras --root={d}/root --mirrors=off", 3, "could not obtain"),
        ("plant caffe", 2, "invalid choice: 'caffe'"),
        ("plant torchvision --mirrors={real}", 2, "pass --root"),
        ("plant keras --mirrors={real} --root={d}/file/root", 3, "cannot be written"),
        ("bundle export {d}/b.zip --mirrors=off", 3, "could not obtain"),
        ("bundle export {d}/file/b.zip --mirrors={real}", 3, "cannot be written"),
        ("bundle import {d}/none.zip", 2, "there is no file"),
        ("bundle import {d}/page-idx3.gz", 4, "damaged"),
        ("bundle carry {d}/b.zip", 2, "invalid choice: 'carry'"),
        ("serve --mirrors=off", 3, "could not obtain"),
        ("serve --mirrors={real} --port=99999", 3, "port 99999"),
        ("serve --port=http", 2, "invalid int"),
        ("build --mirrors=off --data_dir={d}/tfds", 3, "could not obtain"),
        ("build --config_file={d}/bad.toml", 2, "urll"),
        ("config --config_file={d}/bad.toml", 2, "urll"),
        ("quickstart --mirrors=corp", 2, "no name in the TOML"),
        ("benchmark --mirrors=off --out={d}/b", 3, "could not obtain"),
        ("completion fish", 2, "invalid choice: 'fish'"),
    ],
)
def test_every_other_command_fails_with_its_code_and_one_message(
    line, code, said, folder, real_data, capfd, monkeypatch
):
    monkeypatch.setenv("FMNIST_TFDS_MIRRORS", "off")
    assert main.run(line.format(d=folder, real=real_data).split()) == code
    captured = capfd.readouterr()
    assert said in captured.err
    assert captured.err.count("error: ") == 1
    assert captured.out == ""
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("command", sorted(main.COMMANDS))
def test_mistyped_flag_of_every_command_gets_its_nearest_one(command, capsys):
    needed = {
        "verify": ["x"],
        "adopt": ["x"],
        "plant": ["keras"],
        "bundle": ["import", "x"],
        "completion": ["bash"],
        "mirror": ["create", "kmnist", "--out=x"],
    }
    assert main.run([command, *needed.get(command, []), "--verbositty=1"]) == 2
    said = capsys.readouterr().err
    assert "unknown argument --verbositty" in said
    assert "the nearest valid one is --verbosity" in said


@pytest.mark.parametrize("line", ["fetch --mirror=off", "config --off", "verify --js x"])
def test_flag_is_never_guessed_from_its_beginning(line, capsys):
    assert main.run(line.split()) == 2
    assert "unknown argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], *([c, "-h"] for c in ("fetch", "plant"))]
)
def test_help_is_on_stdout_alone_and_shows_the_codes(arguments, capsys):
    assert main.run(arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "usage: fmnist-tfds" in said.out
    if len(arguments) == 1:
        text = " ".join(said.out.split())
        assert "0 done; 2 usage or configuration; 3 not obtained; 4 not Fashion-MNIST" in text


def test_markup_in_a_message_is_shown_as_it_stands(tmp_path, capsys):
    path = tmp_path / "[bold]x[/bold]"
    assert main.run(["verify", str(path)]) == 2
    assert "[bold]x[/bold]" in capsys.readouterr().err
    # In the hint as well, and a word behind "--" stays as it was typed.
    assert main.run(["bundle", "export", "--out=d", "--", "--[bold]x-y"]) == 2
    assert "hint: fmnist-tfds bundle export d/--[bold]x-y" in capsys.readouterr().err


def test_negative_verbosity_leaves_errors_alone_and_one_adds_what_others_say(capsys):
    ours, others = logging.getLogger("fmnist_tfds.x"), logging.getLogger("others")
    for verbosity, said in ((-1, ["e"]), (0, ["i", "w", "e", "other w"])):
        assert main.run(["config", f"--verbosity={verbosity}"]) == 0
        capsys.readouterr()
        for say, word in ((ours.info, "i"), (ours.warning, "w"), (ours.error, "e")):
            say(word)
        if verbosity == 0:
            others.info("other i")
            others.warning("other w")
            # Beam, where it is installed: TFDS imports it for a build that needs none.
            logging.getLogger().warning("apitools not found, and bigquery client libraries …")
        assert capsys.readouterr().err.splitlines() == said


def test_verbosity_adds_the_traceback_to_stderr_alone(folder, capsys):
    assert main.run(["adopt", str(folder / "empty"), "--json", "--verbosity=1"]) == 4
    said = capsys.readouterr()
    assert json.loads(said.out)["ok"] is False
    assert "Traceback" in said.err


def test_remark_on_a_setting_goes_to_stderr(capsys):
    website = "https://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    assert main.run(["config", f"--mirrors={website}"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("note: ")
    assert "note: " not in said.out


@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_file_that_is_not_genuine_among_several_fails_verify(
    position, real_data, folder, capsys
):
    paths = [str(real_data / NAMES[1]), str(real_data / NAMES[3])]
    paths.insert(position, str(folder / "page-idx3.gz"))
    assert main.run(["verify", *paths, "--json"]) == 4
    files = json.loads(capsys.readouterr().out)["files"]
    assert [entry["path"] for entry in files] == paths
    assert [entry["verdict"] == "html" for entry in files] == [p == position for p in range(3)]
    assert "web page" in files[position]["detail"]
    assert main.run(["verify", *paths]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("genuine ") for line in lines) == 2
    assert any("web page" in line for line in lines)


def test_verify_takes_genuine_payloads_and_looks_at_every_idx_file_of_a_folder(
    real_data, tmp_path, capsys
):
    payload = gzip.decompress((real_data / NAMES[3]).read_bytes())
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(payload)
    (tmp_path / "anything-idx1.gz").write_bytes(gzip.compress(payload, 1))
    (tmp_path / "notes.txt").write_text("not looked at")
    assert main.run(["verify", str(tmp_path), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [entry["verdict"] for entry in files] == ["genuine-payload"] * 2
    (tmp_path / "anything-idx1.gz").write_bytes(gzip.compress(payload, 1)[:-900])
    assert main.run(["verify", str(tmp_path)]) == 4


def process(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "fmnist_tfds.cli.main", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        timeout=600,
        cwd=REPO,
        **options,
    )


def test_process_ends_with_the_code_of_its_command():
    done = process("fetch", "--offline", "--json", stdout=subprocess.PIPE)
    assert done.returncode == 3
    assert json.loads(done.stdout)["ok"] is False


def test_reader_that_went_away_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = process("config", stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_kinds_of_error_that_are_nobodys_fault_exit_1():
    for kind in (errors.NotPreparedError, errors.RecordError, errors.MissingExtraError):
        assert output.exit_code(kind("x")) == 1
    assert output.exit_code(errors.IdxError("x")) == 4
