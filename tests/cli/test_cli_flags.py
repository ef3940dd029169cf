"""Every flag reaches what it is for, seen from outside."""

from __future__ import annotations

import json
import os
import pathlib
import re

import pytest

from fmnist_tfds import catalog, errors
from fmnist_tfds.benchmark import measure as benchmark
from fmnist_tfds.cli import main
from fmnist_tfds.training import plots, quickstart

NAMES = [file.name for file in catalog.FASHION_MNIST.files]
pytestmark = pytest.mark.usefixtures("own_home")


def shown(capsys, *arguments):
    """What `config` prints: name -> (value, origin)."""
    assert main.run(["config", *map(str, arguments)]) == 0
    rows = re.findall(r"(?m)^([\w.]+) +(.*?) +\[(.*)\]$", capsys.readouterr().out)
    return {name: (value, origin) for name, value, origin in rows}


def test_config_says_of_each_flag_that_it_was_given(tmp_path, capsys):
    found = shown(
        capsys,
        f"--manual_dir={tmp_path / 'm'}",
        f"--cache_dir={tmp_path / 'c'}",
        "--deadline_s=7",
        "--offline",
        "--adopt_local",
    )
    assert found["manual.dir"] == (str(tmp_path / "m"), "argument")
    assert found["cache.dir"] == (str(tmp_path / "c"), "argument")
    assert found["network.deadline_s"] == ("7.0", "argument")
    assert found["offline"] == ("True", "argument")
    assert found["adopt_local"] == ("True", "argument")
    assert found["network.attempts"] == ("3", "default")


def test_config_says_which_variable_or_file_a_value_is_from(tmp_path, capsys, monkeypatch):
    path = tmp_path / "site.toml"
    path.write_text(
        'order = "http://b.example/"\n[network]\nattempts = 5\ndeadline_s = 11.0\n'
        '[cache]\ndir = "c"\n[manual]\ndir = "m"\n'
    )
    monkeypatch.delenv("FMNIST_TFDS_MIRRORS")
    monkeypatch.delenv("FMNIST_TFDS_CACHE_DIR")
    monkeypatch.setenv("FMNIST_TFDS_DEADLINE_S", "9")
    monkeypatch.setenv("FMNIST_TFDS_ADOPT_LOCAL", "1")
    assert main.run(["config", f"--config_file={path}"]) == 0
    out = capsys.readouterr().out
    assert f"mirrors  [{path}]\n  1. http://b.example/" in out
    found = shown(capsys, f"--config_file={path}")
    assert found["network.attempts"] == ("5", str(path))
    assert found["cache.dir"] == (str(tmp_path / "c"), str(path))
    assert found["manual.dir"] == (str(tmp_path / "m"), str(path))
    assert found["network.deadline_s"] == ("9.0", "FMNIST_TFDS_DEADLINE_S")
    assert found["adopt_local"] == ("True", "FMNIST_TFDS_ADOPT_LOCAL")
    assert found["offline"] == ("False", "default")
    monkeypatch.setenv("FMNIST_TFDS_CONFIG", str(path))
    monkeypatch.setenv("FMNIST_TFDS_MIRRORS", "http://c.example/")
    assert main.run(["config"]) == 0
    assert "mirrors  [FMNIST_TFDS_MIRRORS]\n  1. http://c.example/" in capsys.readouterr().out
    assert main.run(["config", "--mirrors=http://d.example/"]) == 0
    assert "mirrors  [argument]\n  1. http://d.example/" in capsys.readouterr().out


def test_config_shows_no_secret_and_says_where_tls_is_not_verified(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FMNIST_TFDS_MIRRORS")
    monkeypatch.setenv("https_proxy", "http://ann:hunter1@r.example:1")
    monkeypatch.setenv("http_proxy", "ann:hunter2@s.example:2")
    monkeypatch.setenv("no_proxy", "intern.example,http://ann:hunter6@inner.example")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("A_PROXY", "http://ann:hunter3@p.example:3128")
    monkeypatch.setenv("A_TOKEN", "hunter4")
    path = tmp_path / "site.toml"
    path.write_text(
        '[[mirrors]]\nurl = "https://a.example/{filename}?sig=hunter5"\nproxy = "env:A_PROXY"\n'
        'insecure_tls = true\nauth = { type = "bearer", token = "env:A_TOKEN" }\n'
        '[[mirrors]]\nurl = "https://b.example/"\nheaders = { X-Key = "hunter7" }\n'
        '[network]\nproxy = "env:A_PROXY"\n'
    )
    assert main.run(["config", f"--config_file={path}"]) == 0
    out = capsys.readouterr().out
    assert "hunter" not in out
    parts = ("r.example:1", "s.example:2", "a.example", "auth bearer", "header X-Key")
    for part in (*parts, "intern.example", "inner.example"):
        assert part in out
    assert str(tmp_path / "ca.pem") in out
    assert [line for line in out.splitlines() if "TLS NOT VERIFIED" in line] == [
        line for line in out.splitlines() if "a.example" in line
    ]


def test_fetch_keeps_the_files_where_cache_dir_says_and_out_gets_copies(
    real_mirror, tmp_path, capsys
):
    cache, out = tmp_path / "cache", tmp_path / "out"
    flags = [f"--mirrors={real_mirror.url}", f"--cache_dir={cache}", "--json"]
    assert main.run(["fetch", *flags, f"--out={out}"]) == 0
    said = capsys.readouterr()
    assert said.err == "", "progress is for people"
    document = json.loads(said.out)
    assert {entry["path"] for entry in document["files"].values()} == {
        str(out / name) for name in NAMES
    }
    asked = len(real_mirror.requests)
    assert main.run(["fetch", *flags, "--offline"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["error"] is None
    assert all(entry["path"].startswith(str(cache)) for entry in document["files"].values())
    assert len(real_mirror.requests) == asked


def test_fetch_offline_asks_no_mirror(real_mirror):
    assert main.run(["fetch", f"--mirrors={real_mirror.url}", "--offline"]) == 3
    assert real_mirror.requests == []


def test_fetch_takes_other_tools_caches_only_where_told(real_data, tmp_path, monkeypatch):
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.parent.mkdir()
    folder.symlink_to(real_data)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert main.run(["fetch", "--mirrors=off"]) == 3
    assert main.run(["fetch", "--mirrors=off", "--adopt_local"]) == 0


@pytest.fixture
def clean(monkeypatch):
    """What `build` exports is taken back after the test."""
    for name in ("MIRRORS", "CONFIG", "CACHE_DIR", "DEADLINE_S", "OFFLINE", "ADOPT_LOCAL"):
        monkeypatch.setenv(f"FMNIST_TFDS_{name}", "x")
        monkeypatch.delenv(f"FMNIST_TFDS_{name}")


def test_build_obtains_from_its_mirrors_into_its_cache(clean, real_mirror, tmp_path):
    code = main.run(
        [
            "build",
            f"--mirrors={real_mirror.url}",
            f"--cache_dir={tmp_path / 'cache'}",
            "--deadline_s=500",
            f"--data_dir={tmp_path / 'tfds'}",
            f"--download_dir={tmp_path / 'downloads'}",
            "--max_examples_per_split=5",
        ]
    )
    assert code == 0
    assert len([path for path in real_mirror.requests if path.endswith(".gz")]) == 4
    info = tmp_path / "tfds" / "fmnist_resilient" / "1.0.0" / "dataset_info.json"
    lengths = [split["shardLengths"] for split in json.loads(info.read_text())["splits"]]
    assert lengths == [["5"], ["5"]]


def test_build_hands_each_of_our_flags_to_the_builder(clean, tmp_path, monkeypatch):
    # TFDS's command gives its builders no argument of ours: the variables stand for them.
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "site.toml"
    path.write_text("")
    code = main.run(
        [
            "build",
            "--mirrors=http://127.0.0.1:1/",
            f"--config_file={path}",
            f"--cache_dir={tmp_path / 'cache'}",
            "--deadline_s=12",
            "--offline",
            "--adopt_local",
            f"--data_dir={tmp_path / 'tfds'}",
        ]
    )
    assert code == 3
    ours = {n: v for n, v in os.environ.items() if n.startswith("FMNIST_TFDS_")}
    assert ours == {
        "FMNIST_TFDS_MIRRORS": "http://127.0.0.1:1/",
        "FMNIST_TFDS_CONFIG": str(path),
        "FMNIST_TFDS_CACHE_DIR": str(tmp_path / "cache"),
        "FMNIST_TFDS_DEADLINE_S": "12.0",
        "FMNIST_TFDS_OFFLINE": "1",
        "FMNIST_TFDS_ADOPT_LOCAL": "1",
    }


def test_build_offline_asks_no_mirror(clean, real_mirror, tmp_path):
    flags = [f"--mirrors={real_mirror.url}", f"--data_dir={tmp_path / 'tfds'}"]
    assert main.run(["build", *flags, f"--cache_dir={tmp_path / 'cache'}", "--offline"]) == 3
    assert real_mirror.requests == []


def test_build_takes_the_folder_that_it_is_given(clean, real_data, tmp_path, capsys):
    flags = ["--mirrors=off", f"--cache_dir={tmp_path / 'c'}", "--max_examples_per_split=5"]
    data_dir = f"--data_dir={tmp_path / 'tfds'}"
    assert main.run(["build", *flags, f"--manual_dir={real_data}", data_dir]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2, "its own lines, none of TFDS"
    assert main.run(["build", *flags, f"--manual_dir={real_data}", data_dir, "--verbosity=-1"]) == 0
    assert capsys.readouterr().out == ""


def test_build_takes_other_tools_caches_only_where_told(clean, real_data, tmp_path, monkeypatch):
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.parent.mkdir()
    folder.symlink_to(real_data)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    flags = ["--mirrors=off", f"--cache_dir={tmp_path / 'c'}", "--max_examples_per_split=5"]
    data_dir = f"--data_dir={tmp_path / 'tfds'}"
    assert main.run(["build", *flags, data_dir]) == 3
    assert main.run(["build", *flags, data_dir, "--adopt_local", "--verbosity=-1"]) == 0


def test_build_says_what_tfds_refuses_in_one_message(clean, real_data, tmp_path, capsys):
    flags = ["--mirrors=off", f"--cache_dir={tmp_path / 'c'}", f"--manual_dir={real_data}"]
    few = ["--max_examples_per_split=5", "--num_shards=10", f"--data_dir={tmp_path / 'tfds'}"]
    assert main.run(["build", *flags, *few]) == 1
    said = capsys.readouterr()
    assert "num_examples (5) < number_of_shards (10)" in said.err
    assert said.err.count("error: ") == 1
    assert "Traceback" not in said.err
    assert not list(tmp_path.rglob("*.tfrecord*"))


def test_build_with_dead_mirrors_says_why_and_leaves_nothing(clean, closed_port, tmp_path, capsys):
    config = tmp_path / "site.toml"
    config.write_text("[network]\nbackoff_s = 0\n")
    flags = [f"--mirrors=http://127.0.0.1:{closed_port}/", f"--config_file={config}"]
    flags += [f"--cache_dir={tmp_path / 'c'}", f"--data_dir={tmp_path / 'tfds'}"]
    assert main.run(["build", *flags]) == 3
    said = capsys.readouterr()
    assert "connect-refused" in said.err
    assert "Traceback" not in said.err
    assert not list(tmp_path.rglob("*.tfrecord*"))


@pytest.fixture
def ran(monkeypatch):
    """What quickstart and benchmark would have run with."""
    seen = {}

    def run(settings, out, **options):
        seen.update(options, settings=settings, out=out)
        raise errors.ConfigError("far enough")

    def measure(data_dir, files, repeats):
        names = {path.name for path in pathlib.Path(files).iterdir()}
        seen.update(data_dir=data_dir, files=names, repeats=repeats)
        return {"measured": repeats}

    monkeypatch.setattr(quickstart, "run", run)
    monkeypatch.setattr(benchmark, "measure", measure)
    monkeypatch.setattr(benchmark, "chart", lambda result, path: path.write_bytes(b"chart"))
    monkeypatch.setattr(benchmark, "table", lambda result: f"table of {result}")
    return seen


def test_quickstart_runs_with_its_flags(ran, tmp_path):
    out, data = tmp_path / "out", tmp_path / "data"
    flags = [f"--out={out}", f"--data_dir={data}", "--epochs=3", "--mirrors=http://a.example/"]
    assert main.run(["quickstart", *flags]) == 2
    assert (ran["out"], ran["data_dir"], ran["epochs"]) == (out, str(data), 3)
    assert [mirror.url for mirror in ran["settings"].mirrors] == ["http://a.example/"]


def test_quickstart_waits_two_minutes_unless_told_otherwise(ran, monkeypatch):
    assert main.run(["quickstart"]) == 2
    assert ran["settings"].network.deadline_s == 120.0
    assert ran["epochs"] == 5
    assert str(ran["out"]) == "quickstart-output"
    assert main.run(["quickstart", "--deadline_s=900"]) == 2
    assert ran["settings"].network.deadline_s == 900.0
    monkeypatch.setenv("FMNIST_TFDS_DEADLINE_S", "600")
    assert main.run(["quickstart"]) == 2
    assert ran["settings"].network.deadline_s == 600.0


def test_benchmark_without_matplotlib_says_so_before_it_measures(ran, monkeypatch, capsys):
    def lacking():
        raise errors.MissingExtraError("needs matplotlib")

    monkeypatch.setattr(plots, "require_matplotlib", lacking)
    assert main.run(["benchmark", "--offline"]) == 1
    assert "needs matplotlib" in capsys.readouterr().err
    assert ran == {}


def test_benchmark_measures_with_its_flags_and_writes_below_out(ran, real_data, tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    flags = [f"--out={out}", "--repeats=7", f"--manual_dir={real_data}", "--verbosity=-1"]
    assert main.run(["benchmark", *flags]) == 0
    assert ran["repeats"] == 7
    assert ran["data_dir"] == str(out / "tfds")
    assert ran["files"] >= set(NAMES)
    assert json.loads((out / "benchmark.json").read_text()) == {"measured": 7}
    assert (out / "benchmark.png").read_bytes() == b"chart"
    assert capsys.readouterr().out == "table of {'measured': 7}\n"
