"""The command line: exit codes, one message, JSON alone on stdout."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios

import pytest

from fmnist_tfds import catalog, errors
from fmnist_tfds.cli import main, output

REPO = pathlib.Path(__file__).resolve().parents[2]
NAMES = [file.name for file in catalog.FASHION_MNIST.files]


def test_fetch_from_the_second_mirror(real_data, real_mirror, closed_port, tmp_path, capsys):
    mirrors = f"http://127.0.0.1:{closed_port}/,{real_mirror.url}"
    code = main.run(["fetch", f"--mirrors={mirrors}", f"--out={tmp_path}", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["ok"] is True
    causes = set()
    for file in catalog.FASHION_MNIST.files:
        entry = document["files"][file.name]
        assert entry["sha256"] == file.sha256
        assert entry["source"].startswith(real_mirror.url)
        causes |= {attempt["cause"] for attempt in entry["attempts"]}
        assert (tmp_path / file.name).read_bytes() == (real_data / file.name).read_bytes()
    # Not of each file: one that begins late knows already that the first mirror is out.
    assert "connect-refused" in causes


def test_fetch_that_fails_lists_every_file_and_exits_3(closed_port, tmp_path, capsys):
    config = tmp_path / "site.toml"
    config.write_text("[network]\nbackoff_s = 0\n")
    flags = [f"--mirrors=http://127.0.0.1:{closed_port}/", f"--config_file={config}", "--json"]
    code = main.run(["fetch", *flags, f"--out={tmp_path / 'out'}"])
    document = json.loads(capsys.readouterr().out)
    assert code == 3
    assert document["ok"] is False
    assert sorted(document["files"]) == sorted(NAMES)
    assert all(entry["path"] is None for entry in document["files"].values())
    assert document["error"]["reference"] == "obtain"
    assert "connect-refused" in document["error"]["message"]
    assert document["error"]["hint"]
    assert not list(tmp_path.rglob("*.gz"))


def test_fetch_offline_says_what_is_missing(capsys):
    code = main.run(["fetch", "--offline"])
    said = capsys.readouterr()
    assert code == 3
    assert said.out == ""
    for name in NAMES:
        assert name in said.err
    assert "Traceback" not in said.err


def test_manual_dir_that_does_not_exist_is_named(tmp_path, capsys):
    assert main.run(["fetch", "--offline", f"--manual_dir={tmp_path / 'nowhere'}"]) == 3
    assert "nowhere" in capsys.readouterr().err


def test_fetch_to_an_unwritable_cache_is_one_message(real_data, tmp_path, capsys):
    blocker = tmp_path / "file"
    blocker.write_text("")
    code = main.run(["fetch", f"--mirrors={real_data}", f"--cache_dir={blocker / 'cache'}"])
    said = capsys.readouterr().err
    assert code == 3
    assert str(blocker) in said
    assert "Traceback" not in said


def test_verify_exits_4_for_anything_not_genuine(real_data, tmp_path, capsys):
    assert main.run(["verify", str(real_data)]) == 0
    page = tmp_path / "train-images-idx3-ubyte.gz"
    page.write_bytes(b"<!DOCTYPE html><html>log in</html>")
    capsys.readouterr()
    assert main.run(["verify", str(page), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["files"][0]["verdict"] == "html"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fetsch"], "'fetch'"),
        (["fetch", "--mirror=x"], "--mirrors"),
        (["fetch", "--deadline_s=soon"], "invalid float"),
        (["fetch", "--mirrors=corp"], "no name in the TOML file"),
        (["verify", "/no/such/file"], "there is no file"),
        (["verify"], "PATH"),
        (["quickstart", "--epochs=0"], "expected a whole number of at least 1, got '0'"),
        (["benchmark", "--repeats=few"], "expected a whole number of at least 1, got 'few'"),
        (["verify", "/dev/null"], "neither a file nor a folder"),
        (["build", "--download_only"], "goes past every builder"),
        (["build", "--download_only=true"], "goes past every builder"),
        (["build", "--num_shard=3"], "the nearest valid one is --num_shards"),
        (["build", "--mirors=http://ann:hunter2@a.example/"], "the nearest valid one is --mirrors"),
        (["build", "--num_shards=few"], "invalid int value: 'few'"),
        (["build", "mnist"], "unknown argument mnist"),
        (["bundle", "export", "f.zip", "--out=d"], "bundle export d/f.zip"),
        (["--verison"], "expected a command, got --verison"),
        (["--verbosity=1", "fetch"], "flags stand behind the command"),
        (["fetch", "data"], "named by its flag: --out=FOLDER"),
        (["config", "data"], "`fmnist-tfds config --help` shows"),
    ],
)
def test_usage_mistake_exits_2_with_one_message(arguments, said, capsys):
    assert main.run(arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("error: ")
    for absent in ("Traceback", "usage:", "hunter2"):
        assert absent not in err


def test_fetch_exits_alike_with_and_without_json(tmp_path, capsys):
    path = tmp_path / "site.toml"
    path.write_text(
        '[[mirrors]]\nurl = "http://127.0.0.1:1/"\nheaders = { X-Key = "env:NO_SUCH_KEY" }\n'
    )
    arguments = ["fetch", f"--config_file={path}", "--mirrors=mirror-1"]
    assert main.run(arguments) == 2
    assert main.run([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["reference"] == "config"


@pytest.mark.parametrize("command", sorted(main.COMMANDS))
def test_help_of_every_command_exits_0_with_an_example(command, capsys):
    assert main.run([command, "--help"]) == 0
    assert f"fmnist-tfds {command}" in capsys.readouterr().out


def test_main_collects_the_commands_of_every_room_each_name_and_synonym_once():
    rooms = [
        importlib.import_module(f"fmnist_tfds.cli.{path.stem}")
        for path in (REPO / "fmnist_tfds" / "cli").glob("[!_]*.py")
        if path.stem != "main"
    ]
    declared = [command for room in rooms for command in getattr(room, "COMMANDS", ())]
    assert sorted(c.name for c in declared) == sorted(main.COMMANDS)
    words = [word for command in declared for word in (command.name, *command.synonyms)]
    assert len(words) == len(set(words))


def test_word_of_another_program_is_answered_with_our_command(capsys):
    assert main.run(["download"]) == 2
    assert "the nearest one is 'fetch'" in capsys.readouterr().err


def test_help_and_no_command_exit_0(capsys):
    assert main.run([]) == 0
    assert main.run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in main.COMMANDS)


def test_every_error_kind_has_a_documented_exit_code():
    expected = {"config": 2, "argument": 2, "obtain": 3, "store": 3, "content": 4, "archive": 4}
    for kind in (
        errors.ConfigError,
        errors.ArgumentError,
        errors.ObtainError,
        errors.StoreError,
        errors.ContentError,
        errors.ArchiveError,
        errors.RecordError,
    ):
        assert output.exit_code(kind("x")) == expected.get(kind.reference, 1)


def test_config_masks_secrets(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@proxy.example:3128")
    monkeypatch.setenv("ART_KEY", "k3y-of-the-house")
    path = tmp_path / "site.toml"
    path.write_text(
        '[[mirrors]]\nname = "corp"\nurl = "https://a.example/"\n'
        'headers = { X-Key = "env:ART_KEY" }\n'
    )
    monkeypatch.delenv("FMNIST_TFDS_MIRRORS")
    assert main.run(["config", f"--config_file={path}"]) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert "k3y" not in out
    assert "proxy.example:3128" in out
    assert str(path) in out


def test_verbosity_adds_the_traceback(capsys):
    assert main.run(["fetch", "--offline", "--verbosity=1"]) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fe"], "fetch"),
        (["fetch", "--mirr"], "--mirrors"),
        (["plant", "ker"], "keras"),
        (["bundle", "ex"], "export"),
        (["bundle", "export", "fol"], "folder"),
        (["verify", "fol"], "folder"),
        # As bash cuts `--out=fol`.
        (["fetch", "--out", "=", "fol"], "folder"),
    ],
)
def test_bash_completes_commands_flags_choices_and_files(words, expected, tmp_path, capsys):
    assert main.run(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)
    ask = (
        'source "$1"; COMP_WORDS=(fmnist-tfds "${@:2}"); COMP_CWORD=$(($# - 1)); _fmnist_tfds; '
        'echo "${COMPREPLY[@]}"'
    )
    (tmp_path / "folder").mkdir()
    done = subprocess.run(
        ["bash", "-c", ask, "bash", script, *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.stdout.split() == [expected], done.stderr


def test_zsh_completes_where_nothing_was_set_up_before(tmp_path, capsys):
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("needs zsh")
    assert main.run(["completion", "zsh"]) == 0
    script = tmp_path / "completion.zsh"
    script.write_text(capsys.readouterr().out)
    ask = 'source "$1" && print -r -- $_comps[fmnist-tfds]'
    done = subprocess.run(
        [zsh, "-f", "-c", ask, "zsh", script],
        capture_output=True,
        text=True,
        timeout=20,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    assert "_fmnist_tfds" in done.stdout, done.stderr
    assert "not found" not in done.stderr


def test_progress_names_file_source_and_share_within_80_columns():
    code = (
        "from fmnist_tfds.cli import output as cli_output\n"
        "with cli_output.progress() as report:\n"
        "    report.update('train-images-idx3-ubyte.gz',\n"
        "                  'http://a-mirror-with-a-long-name.example/', 13_000_000, 26_000_000)\n"
    )
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    subprocess.run(
        [sys.executable, "-c", code],
        stderr=follower,
        check=True,
        timeout=60,
        cwd=REPO,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"},
    )
    os.close(follower)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(leader, 100_000).decode())
    os.close(leader)
    line = next(line for line in text.splitlines() if "50%" in line)
    assert "train-images-idx3-ubyte.gz a-mirror-with-a-long" in line
    assert "-:--:--" in line
    assert len(line) <= 80


def test_negative_verbosity_leaves_only_results(real_data, tmp_path, capfd):
    assert main.run(["fetch", f"--mirrors={real_data}", f"--out={tmp_path}", "--verbosity=-1"]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert len(said.out.splitlines()) == 4
    assert said.out.count(f"  verified  from {real_data.as_uri()}/") == 4


def test_interrupted_fetch_leaves_no_final_file(tmp_path):
    # A shell's background job ignores SIGINT, and so would its child.
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from fmnist_tfds.cli import main as cli\n"
        "cli.main(sys.argv[1:])\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(600)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with subprocess.Popen(
            [sys.executable, "-c", code, "fetch", f"--mirrors={url}", f"--cache_dir={tmp_path}"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPO,
        ) as fetch:
            try:
                with silent.accept()[0]:  # it waits for an answer
                    fetch.send_signal(signal.SIGINT)
                    _, said = fetch.communicate(timeout=600)
            finally:
                fetch.kill()
    assert fetch.returncode == 130, said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("*-ubyte.gz"))


def test_commands_import_no_more_than_they_need(real_data, tmp_path):
    sources = f"'--mirrors={real_data}', '--cache_dir={tmp_path}'"
    code = (
        "import sys; from fmnist_tfds.cli import main as cli\n"
        "assert cli.run(['--help']) == 0\n"
        "assert not {'tensorflow', 'requests', 'jinja2', 'fmnist_tfds.obtain'} & set(sys.modules)\n"
        f"assert cli.run(['fetch', {sources}]) == 0\n"
        f"assert cli.run(['doctor', {sources}, '--json']) == 0\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, cwd=REPO
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["fmnist_tfds", "fmnist_tfds.cli"])
def test_the_package_runs_as_a_module(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "confg"], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 2
    assert "the nearest one is 'config'" in done.stderr


def test_full_disk_under_the_output_is_one_message():
    line = f"{sys.executable} -m fmnist_tfds.cli.main config --mirrors=off > /dev/full"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60, cwd=REPO
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: [Errno 28] No space left on device"]


@pytest.mark.versions
def test_build_prepares_from_manual_dir_without_a_network(real_data, tmp_path):
    # All of it: tests/cli/test_cli_build.py. This one runs with the oldest packages too.
    flags = [f"--manual_dir={real_data}", f"--data_dir={tmp_path}", "--mirrors=off"]
    few = "--max_examples_per_split=5"
    done = subprocess.run(
        [sys.executable, "-m", "fmnist_tfds.cli.main", "build", *flags, few],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=REPO,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fmnist_resilient" / "1.0.0" / "dataset_info.json").exists()
