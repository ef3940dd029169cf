"""What the command line makes of flags, variables and the file, and how it shows them."""

from __future__ import annotations

import gzip

from fmnist_tfds.cli import main


def _toml(folder, text):
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_config_prints_each_value_with_its_origin_and_no_secret(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FMNIST_TFDS_DEADLINE_S", "77")
    monkeypatch.setenv("all_proxy", "http://ann:hunter2@all.example:1")
    path = _toml(
        tmp_path,
        '[network]\nattempts = 4\nproxy = "http://carl@general.example:3"\n'
        '[[mirrors]]\nname = "blind"\nurl = "https://a.example/f?sig=hunter2"\n'
        'insecure_tls = true\nproxy = "http://bob@own.example:2"\n'
        'auth = { type = "basic", username = "ann", password = "env:HUNTER" }\n',
    )
    monkeypatch.setenv("HUNTER", "hunter2")
    assert main.run(["config", f"--config_file={path}", "--mirrors=blind", "--offline"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert shown["network.deadline_s"] == "77.0 [FMNIST_TFDS_DEADLINE_S]"
    assert shown["network.attempts"] == f"4 [{path}]"
    assert shown["network.trust"] == "system [default]"
    assert shown["offline"] == "True [argument]"
    assert shown["mirrors"] == "[argument]"
    text = "\n".join(lines)
    assert "TLS NOT VERIFIED" in text
    assert "***@own.example:2" in text
    assert "***@all.example:1" in text
    assert "***@general.example:3" in text
    assert "hunter2" not in text


def test_flags_of_the_command_line_are_arguments(tmp_path, capsys):
    assert main.run(["config", "--mirrors=off", f"--cache_dir={tmp_path / 'c'}", "--deadline_s=9",
                    f"--manual_dir={tmp_path / 'm'}", "--adopt_local"]) == 0  # fmt: skip
    shown = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert shown["cache.dir"] == [str(tmp_path / "c"), "[argument]"]
    assert shown["manual.dir"] == [str(tmp_path / "m"), "[argument]"]
    assert shown["network.deadline_s"] == ["9.0", "[argument]"]
    assert shown["adopt_local"] == ["True", "[argument]"]


def test_without_the_flag_the_variable_says_whether_offline(capsys, monkeypatch):
    monkeypatch.setenv("FMNIST_TFDS_OFFLINE", "1")
    monkeypatch.setenv("FMNIST_TFDS_MIRRORS", "http://a.example/")
    assert main.run(["config"]) == 0
    assert "True  [FMNIST_TFDS_OFFLINE]" in capsys.readouterr().out


def test_a_rewritten_address_is_said_aloud_on_the_command_line(capsys):
    wrong = "https://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    assert main.run(["config", f"--mirrors={wrong}"]) == 0
    assert "note: " in capsys.readouterr().err


def test_verify_exits_4_if_one_of_several_is_not_genuine(tmp_path, capsys, real_data):
    good = real_data / "t10k-labels-idx1-ubyte.gz"
    wrong = tmp_path / "wrong.gz"
    wrong.write_bytes(good.read_bytes()[:-1] + b"x")
    assert main.run(["verify", str(good), str(wrong)]) == 4
    assert main.run(["verify", str(wrong), str(good)]) == 4
    assert main.run(["verify", str(good)]) == 0
    bare = tmp_path / "t10k-labels-idx1-ubyte"
    bare.write_bytes(gzip.decompress(good.read_bytes()))
    assert main.run(["verify", str(good), str(bare)]) == 0
    out = capsys.readouterr().out
    assert "corrupt" in out
    assert "genuine" in out
