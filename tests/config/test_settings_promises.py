"""Settings: each key's precedence and origin, and what relative paths are relative to."""

from __future__ import annotations

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "download"))
import family
import jobs

from fmnist_tfds import artifacts, errors, obtain
from fmnist_tfds.config import loader, settings


def _named(name):
    return artifacts.Artifact(name=name, size_bytes=1, sha256="0")


def _toml(folder, text):
    folder.mkdir(exist_ok=True)
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _urls(found):
    return [mirror.url for mirror in found.mirrors]


# Name, what reads it, then (value, what is read) of argument, variable and TOML, and the default.
URL = "http://{}.example/"
KEYS = {
    "mirrors": (
        _urls,
        "MIRRORS",
        (URL.format("a"), [URL.format("a")]),
        (URL.format("b"), [URL.format("b")]),
        ('order = "http://c.example/"', [URL.format("c")]),
    ),
    "cache_dir": (
        lambda found: found.cache_dir.name,
        "CACHE_DIR",
        ("/a/one", "one"),
        ("/a/two", "two"),
        ('[cache]\ndir = "/a/three"', "three"),
    ),
    "manual_dir": (
        lambda found: found.manual_dir and found.manual_dir.name,
        "MANUAL_DIR",
        ("/a/one", "one"),
        ("/a/two", "two"),
        ('[manual]\ndir = "/a/three"', "three"),
    ),
    "deadline_s": (
        lambda found: found.network.deadline_s,
        "DEADLINE_S",
        (11.0, 11.0),
        ("22.5", 22.5),
        ("[network]\ndeadline_s = 33.0", 33.0),
    ),
}
ORIGIN = {
    "mirrors": "mirrors",
    "cache_dir": "cache.dir",
    "manual_dir": "manual.dir",
    "deadline_s": "network.deadline_s",
}


@pytest.mark.parametrize("name", KEYS)
def test_argument_beats_variable_beats_toml_beats_default_and_the_origin_says_so(tmp_path, name):
    read, variable, argument, environment, toml = KEYS[name]
    path = _toml(tmp_path / "conf", toml[0])
    env = {f"FMNIST_TFDS_{variable}": environment[0]}
    for found, value, origin in (
        (loader.load(**{name: argument[0]}, config_file=path, environ=env), argument[1],
         "argument"),
        (loader.load(config_file=path, environ=env), environment[1], f"FMNIST_TFDS_{variable}"),
        (loader.load(config_file=path, environ={}), toml[1], str(path)),
        # An empty variable is none.
        (loader.load(config_file=path, environ=dict.fromkeys(env, "")), toml[1], str(path)),
    ):  # fmt: skip
        assert read(found) == value
        assert found.origins[ORIGIN[name]] == origin
    default = loader.load(environ={})
    assert read(default) not in (argument[1], environment[1], toml[1])
    assert default.origins[ORIGIN[name]] == "default"


def test_the_argument_names_the_file_before_the_variable(tmp_path):
    one = _toml(tmp_path / "one", "[network]\nattempts = 1\n")
    two = _toml(tmp_path / "two", "[network]\nattempts = 2\n")
    env = {"FMNIST_TFDS_CONFIG": str(two)}
    assert loader.load(environ=env).network.attempts == 2
    assert loader.load(config_file=one, environ=env).network.attempts == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("true", True), ("YES", True), ("0", False), ("false", False), ("No", False),
     ("", False)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["offline", "adopt_local"])
def test_a_switch_is_on_or_off_as_its_variable_says(name, text, expected):
    variable = f"FMNIST_TFDS_{name.upper()}"
    found = loader.load(environ={variable: text})
    assert getattr(found, name) is expected
    assert found.origins[name] == (variable if text else "default")


def test_an_argument_switches_offline_off_again():
    env = {"FMNIST_TFDS_OFFLINE": "1"}
    assert loader.load(environ=env).offline
    assert not loader.load(offline=False, environ=env).offline
    assert loader.load(offline=True, environ={"FMNIST_TFDS_OFFLINE": "0"}).offline
    assert loader.load(adopt_local=True, environ={"FMNIST_TFDS_ADOPT_LOCAL": "0"}).adopt_local


def test_every_key_of_network_is_read_and_its_origin_told(tmp_path):
    (tmp_path / "ca.pem").write_text("a certificate")
    values = {
        "connect_timeout_s": 1.5,
        "read_timeout_s": 2.5,
        "min_speed_bytes_per_s": 0,
        "attempts": 7,
        "backoff_s": 0,
        "hedge_after_s": 0,
        "deadline_s": 8.5,
        "trust": "certifi",
        "proxy": "http://proxy.example:3128",
        "ca_bundle": "ca.pem",
    }
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    path = _toml(tmp_path, f"[network]\n{text}\n")
    found = loader.load(config_file=path, environ={})
    assert found.network == settings.Network(**values | {"ca_bundle": tmp_path / "ca.pem"})
    for key in values:
        assert found.origins[f"network.{key}"] == str(path)
        assert loader.load(environ={}).origins[f"network.{key}"] == "default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[network]\nread_timeout_s = -1\n", "read_timeout_s: expected more than 0"),
        ("[network]\nbackoff_s = -1\n", "backoff_s: expected at least 0"),
        ("[network]\ndeadline_s = 0\n", "deadline_s: expected more than 0"),
        ("[netwrok]\n", "the nearest valid key is 'network'"),
        ("[[mirrors]]\nurl = 'http://a.example/'\nprxy = ''\n", "the nearest valid key is 'proxy'"),
        ("[cache]\ndirr = 'x'\n", "the nearest valid key is 'dir'"),
        ("[[mirrors]]\nname = 'default'\nurl = 'http://a.example/'\n", "'default' is taken"),
        ("[[mirrors]]\nname = 'off'\nurl = 'http://a.example/'\n", "'off' is taken"),
        (
            "[[mirrors]]\nname = 'a'\nurl = 'http://a.example/'\n"
            "[[mirrors]]\nname = 'a'\nurl = 'http://b.example/'\n",
            "'a' is taken",
        ),
        (
            "[[mirrors]]\nurl = 'http://a.example/'\nauth = {type = 'basic', username = 'u'}\n",
            "password is missing",
        ),
        (
            "[[mirrors]]\nurl = 'http://a.example/'\n"
            "auth = {type = 'bearer', token = 'env:T', username = 'u'}\n",
            "unknown key 'username'",
        ),
    ],
)
def test_a_mistake_in_the_file_is_refused(tmp_path, text, said):
    with pytest.raises(errors.ConfigError) as caught:
        loader.load(config_file=_toml(tmp_path, text), environ={})
    assert said in str(caught.value)


@pytest.mark.parametrize("value", [0, -1, float("nan"), "0", "soon"])
def test_a_deadline_is_a_number_of_seconds_above_zero(value):
    if isinstance(value, str):
        given = {"environ": {"FMNIST_TFDS_DEADLINE_S": value}}
    else:
        given = {"environ": {}, "deadline_s": value}
    with pytest.raises(errors.ConfigError, match="number of seconds above 0"):
        loader.load(**given)


def test_paths_in_the_file_are_relative_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    conf = tmp_path / "conf"
    path = _toml(
        conf,
        '[cache]\ndir = "cache"\n[manual]\ndir = "data"\n[network]\nca_bundle = "general.pem"\n'
        '[[mirrors]]\nname = "near"\nurl = "share"\n'
        '[[mirrors]]\nname = "far"\nurl = "https://a.example/"\nca_bundle = "ca.pem"\n'
        'client_cert = "me.pem"\nproxy = "file:proxy.txt"\nheaders = { X-Key = "file:key.txt" }\n'
        'auth = { type = "basic", username = "file:user.txt", password = "file:pw.txt" }\n',
    )
    for name in ("general.pem", "ca.pem", "me.pem"):
        (conf / name).write_text("a certificate")
    found = loader.load(config_file=f"../conf/{path.name}", environ={})
    near, far = found.mirrors
    assert found.cache_dir.resolve() == conf / "cache"
    assert found.manual_dir.resolve() == conf / "data"
    assert found.network.ca_bundle.resolve() == conf / "general.pem"
    assert pathlib.Path(near.url.removeprefix("file://")).resolve() == conf / "share"
    assert far.ca_bundle.resolve() == conf / "ca.pem"
    assert far.client_cert.resolve() == conf / "me.pem"
    for reference in (far.proxy, far.headers[0][1], far.auth.username, far.auth.password):
        assert pathlib.Path(reference.removeprefix("file:")).resolve().parent == conf


def test_a_secret_in_a_file_beside_the_toml_file_is_sent_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with family.Mirror(jobs.BODIES) as mirror:
        text = f'[[mirrors]]\nurl = "{mirror.url}"\nheaders = {{ X-Key = "file:key.txt" }}\n'
        path = _toml(tmp_path / "conf", text)
        (tmp_path / "conf" / "key.txt").write_text("from-the-file\n")
        found = loader.load(
            config_file=path, environ={"FMNIST_TFDS_CACHE_DIR": str(tmp_path / "cache")}
        )
        assert obtain.obtain(found, dataset=jobs.DATASET).error is None
    assert {headers["X-Key"] for _, headers in mirror.seen} == {"from-the-file"}


def test_a_relative_folder_is_one_of_the_working_folder_from_then_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = loader.load(cache_dir="c", manual_dir="m", environ={})
    assert (found.cache_dir, found.manual_dir) == (tmp_path / "c", tmp_path / "m")


def test_a_cache_home_needs_no_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert loader.load(environ={}).cache_dir == tmp_path / "fmnist_tfds"


def test_a_tilde_is_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = _toml(tmp_path / "conf", '[manual]\ndir = "~/data"\n[cache]\ndir = "~/cache"\n')
    found = loader.load(config_file=path, environ={})
    assert (found.manual_dir, found.cache_dir) == (tmp_path / "data", tmp_path / "cache")
    found = loader.load(manual_dir="~/m", environ={"FMNIST_TFDS_CACHE_DIR": "~/c"})
    assert (found.manual_dir, found.cache_dir) == (tmp_path / "m", tmp_path / "c")


@pytest.mark.parametrize("scheme", ["http", "https", "all", "no"])
def test_the_lower_case_variable_wins_and_an_empty_one_hides_nothing(scheme):
    lower, upper = f"{scheme}_proxy", f"{scheme}_proxy".upper()

    def read(**environ):
        environment = loader.load(environ=environ).environment
        return environment.no_proxy if scheme == "no" else environment.proxies.get(scheme, "")

    assert read(**{lower: "lower:1", upper: "upper:2"}) == "lower:1"
    assert read(**{upper: "upper:2"}) == "upper:2"
    assert read(**{lower: "", upper: "upper:2"}) == "upper:2"
    assert read() == ""


def test_of_the_variables_for_authorities_the_first_set_one_counts():
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
    for number, first in enumerate(names):
        environ = {name: f"/{name}.pem" for name in names[number:]}
        environ |= dict.fromkeys(names[:number], "")
        found = loader.load(environ=environ).environment.ca_bundle
        assert found == pathlib.Path(f"/{first}.pem")
    assert loader.load(environ={}).environment.ca_bundle is None


def test_mirrors_of_the_file_stand_alone_in_their_order_unless_order_says_otherwise(tmp_path):
    mirrors = "".join(
        f'[[mirrors]]\nname = "{name}"\nurl = "http://{name}.example/"\n' for name in "ab"
    )
    a, b = "http://a.example/", "http://b.example/"
    assert _urls(loader.load(config_file=_toml(tmp_path, mirrors), environ={})) == [a, b]
    ordered = _toml(tmp_path, f'order = "b, a, b"\n{mirrors}')
    found = loader.load(config_file=ordered, environ={})
    # Named twice, asked once.
    assert _urls(found) == [b, a]
    assert found.origins["mirrors"] == str(ordered)


def test_off_in_any_place_means_offline(tmp_path):
    path = _toml(tmp_path, 'order = "off"\n')
    for found in (
        loader.load(mirrors="off", environ={}),
        loader.load(environ={"FMNIST_TFDS_MIRRORS": "off"}),
        loader.load(config_file=path, environ={}),
    ):
        assert found.offline
        assert found.origins["offline"] == found.origins["mirrors"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/base", "https://a.example/base/F.gz"),
        ("https://a.example/x/{filename}?raw=1", "https://a.example/x/F.gz?raw=1"),
        ("https://a.example/base?sig=a/b", "https://a.example/base/F.gz?sig=a/b"),
    ],
)
def test_the_files_name_goes_where_it_belongs(url, expected):
    assert loader.load(mirrors=url, environ={}).mirrors[0].url_for(_named("F.gz")) == expected
