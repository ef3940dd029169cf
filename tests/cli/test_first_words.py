"""What people type in their first five minutes: --version, help, hyphens, other programs' words."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fmnist_tfds import version
from fmnist_tfds.cli import main


@pytest.mark.parametrize("word", ["--version", "version", "-V"])
def test_version_is_told(word, capsys):
    assert main.run([word]) == 0
    assert capsys.readouterr().out == f"fmnist-tfds {version.VERSION}\n"


def test_help_is_a_command_too(capsys):
    assert main.run(["help"]) == 0
    everything = capsys.readouterr().out
    assert main.run(["--help"]) == 0
    assert capsys.readouterr().out == everything
    assert main.run(["help", "fetch"]) == 0
    assert "usage: fmnist-tfds fetch" in capsys.readouterr().out


def test_flags_may_have_hyphens(tmp_path, capsys):
    assert main.run(["config", f"--cache-dir={tmp_path}/a-b", "--deadline-s", "7"]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path}/a-b" in out
    assert "7.0" in out


@pytest.mark.parametrize(
    ("word", "command"),
    [
        *(("download", "fetch"), ("get", "fetch"), ("prepare", "build"), ("check", "verify")),
        *(
            ("diagnose", "doctor"),
            ("fetsch", "fetch"),
            ("Verify", "verify"),
            ("train", "quickstart"),
        ),
    ],
)
def test_words_of_other_programs_lead_to_the_command(word, command, capsys):
    assert main.run([word]) == 2
    assert f"the nearest one is {command!r}" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["list", "xyzzy", "q"])
def test_word_that_is_like_none_gets_no_guess(word, capsys):
    assert main.run([word]) == 2
    said = capsys.readouterr().err
    assert "nearest" not in said
    assert "`fmnist-tfds --help` lists the commands" in said


def test_flag_that_is_like_none_gets_no_guess(capsys):
    assert main.run(["fetch", "--xyzzy"]) == 2
    said = capsys.readouterr().err
    assert "nearest" not in said
    assert "`fmnist-tfds fetch --help` shows what it takes" in said


def test_folder_without_its_flag_is_told_the_flag(capsys):
    assert main.run(["fetch", "data"]) == 2
    assert "a folder is named by its flag: --out=FOLDER" in capsys.readouterr().err


def test_chain_of_the_readme_works_without_a_network(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("FMNIST_TFDS_MIRRORS", "off")
    out = tmp_path / "data"
    assert main.run(["adopt", str(real_data), f"--out={out}"]) == 0
    assert main.run(["plant", "keras", f"--root={tmp_path / 'keras'}"]) == 0
    assert main.run(["bundle", "export", str(tmp_path / "f.zip")]) == 0


def test_what_the_doctor_prescribes_fills_the_cache(real_data, monkeypatch):
    monkeypatch.setenv("FMNIST_TFDS_MIRRORS", "off")
    assert main.run(["fetch", f"--manual_dir={real_data}"]) == 0
    assert main.run(["fetch", "--offline"]) == 0


def test_imported_bundle_is_in_the_cache_too(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("FMNIST_TFDS_MIRRORS", "off")
    bundle = tmp_path / "f.zip"
    line = ["bundle", "export", str(bundle), f"--manual_dir={real_data}"]
    assert main.run([*line, f"--cache_dir={tmp_path / 'there'}"]) == 0
    assert main.run(["bundle", "import", str(bundle), f"--out={tmp_path / 'out'}"]) == 0
    assert main.run(["fetch", "--offline"]) == 0


@pytest.mark.parametrize("name", ["Größe 数据", b"bad\xff".decode("utf-8", "surrogateescape")])
def test_path_that_stdout_cannot_encode_is_shown_with_escapes(real_data, tmp_path, name):
    done = subprocess.run(
        [sys.executable, "-m", "fmnist_tfds", "fetch", f"--mirrors={real_data}", f"--out={name}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"verified") == 4
    assert b"\\" in done.stdout
