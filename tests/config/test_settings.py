"""Settings: precedence, the mirror list, and one clear error for each mistake."""

from __future__ import annotations

import pathlib

import pytest

from fmnist_tfds import artifacts, catalog, errors
from fmnist_tfds.config import loader, settings, urls


def _named(name):
    return artifacts.Artifact(name=name, size_bytes=1, sha256="0")


def _toml(tmp_path: pathlib.Path, text: str) -> pathlib.Path:
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _urls(found: settings.Settings) -> list[str]:
    return [mirror.url for mirror in found.mirrors]


def test_default_is_the_public_list():
    found = loader.load(environ={})
    assert _urls(found) == [
        url if url.endswith("/") else url + "/" for url in catalog.FASHION_MNIST.mirrors
    ]
    assert not found.offline
    assert found.origins["mirrors"] == "default"


def test_argument_beats_variable_beats_toml(tmp_path):
    path = _toml(tmp_path, 'order = "http://toml.example/"\n[network]\ndeadline_s = 7\n')
    env = {"FMNIST_TFDS_CONFIG": str(path)}
    assert _urls(loader.load(environ=env)) == ["http://toml.example/"]
    env["FMNIST_TFDS_MIRRORS"] = "http://variable.example/"
    assert _urls(loader.load(environ=env)) == ["http://variable.example/"]
    assert _urls(loader.load(mirrors="http://argument.example", environ=env)) == [
        "http://argument.example/"
    ]
    assert loader.load(environ=env).network.deadline_s == 7
    env["FMNIST_TFDS_DEADLINE_S"] = "8"
    assert loader.load(environ=env).network.deadline_s == 8
    assert loader.load(environ=env, deadline_s=9).network.deadline_s == 9


def test_mirror_list_takes_names_folders_templates_and_default(tmp_path):
    path = _toml(tmp_path, '[[mirrors]]\nname = "corp"\nurl = "https://a.example/{filename}?x=1"\n')
    listed = f"corp, {tmp_path}, default"
    found = loader.load(mirrors=listed, config_file=path, environ={})
    assert found.mirrors[0].url_for(_named("F")) == "https://a.example/F?x=1"
    assert found.mirrors[1].is_local
    assert found.mirrors[1].url_for(_named("F")).endswith("/F")
    assert len(found.mirrors) == 2 + len(catalog.FASHION_MNIST.mirrors)


@pytest.mark.parametrize("name", ["a folder", "Größe", "50%"])
def test_folder_is_found_whatever_letters_its_name_has(tmp_path, name):
    (mirror,) = loader.load(mirrors=str(tmp_path / name), environ={}).mirrors
    assert urls.local_path(mirror.url_for(_named("F.gz"))) == tmp_path / name / "F.gz"


def test_toml_mirrors_alone_replace_the_public_list(tmp_path):
    path = _toml(tmp_path, '[[mirrors]]\nurl = "https://a.example/f"\n')
    assert _urls(loader.load(config_file=path, environ={})) == ["https://a.example/f/"]


def test_off_switches_the_network_off_and_excludes_network_mirrors(tmp_path):
    assert loader.load(mirrors="off", environ={}).offline
    assert loader.load(mirrors=["off", str(tmp_path)], environ={}).offline
    with pytest.raises(errors.ConfigError, match="'off' forbids the network"):
        loader.load(mirrors="off,default", environ={})


def test_website_endpoint_over_https_is_rewritten_and_said():
    wrong = "https://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    found = loader.load(mirrors=f"{wrong}?sig=s3cret", environ={})
    assert _urls(found) == ["https://fashion-mnist.s3.eu-central-1.amazonaws.com/"]
    (note,) = found.notes
    assert "cannot work" in note
    assert "s3cret" not in note
    # Without TLS it works as it stands.
    plain = loader.load(mirrors=wrong.replace("https", "http"), environ={})
    assert (_urls(plain), plain.notes) == ([wrong.replace("https", "http")], ())


def test_file_name_goes_before_the_query_of_a_base_url():
    signed = loader.load(mirrors="https://a.example/fm/?sig=x", environ={}).mirrors[0]
    assert signed.url_for(_named("labels.gz")) == "https://a.example/fm/labels.gz?sig=x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[network]\nconect_timeout_s = 3\n", "connect_timeout_s"),
        ("[network]\nattempts = '3'\n", "expected a whole number"),
        ("[network]\nattempts = 0\n", "expected more than 0"),
        ('[network]\ntrust = "mine"\n', "expected one of system, certifi"),
        ("order = 3\n", "expected a string"),
        ("[[mirrors]]\nname = 'a'\n", "url is missing"),
        ("[[mirrors]]\nurl = 'https://u:p@a.example/'\n", "credentials in a URL"),
        ("[[mirrors]]\nurl = 'https://hunter2@a.example/'\n", "credentials in a URL"),
        (
            "[[mirrors]]\nurl = 'https://a.example/'\nauth = {type = 'bearer', token = 'x'}\n",
            "a secret may not stand in the file",
        ),
        ("[[mirrors]]\nurl = 'https://a.example/'\nca_bundle = 'none.pem'\n", "there is no file"),
        ("[[mirrors]]\nurl = 'https://a.example/'\nauth = {type = 'magic'}\n", "expected one of"),
        ('[network]\nproxy = "http://proxy.corp:port"\n', "its port is no number up to 65535"),
        ('[network]\nproxy = "http://[proxy"\n', "expected a proxy URL"),
        ('[network]\nproxy = "http://u:p/x@proxy:1"\n', "written %2F"),
        ('[network]\nproxy = "http://u:p@proxy:1"\n', "a secret may not stand in the file"),
        ('[network]\nproxy = "proxy.corp:3128"\n', "it has no scheme"),
        ("a = \n", "line 1"),
        ("[mirrors]\nauth = {token = 'hunter2'}\n", "mirrors: expected an array of tables, [["),
        (
            "[[mirrors]]\nurl = 'https://a.example/'\nauth = 'hunter2'\n",
            "expected a table, got a s",
        ),
        (
            "[[mirrors]]\nurl = 'https://a.example/'\nauth = {type = 'hunter2'}\n",
            "expected one of bearer, basic, netrc; got something else",
        ),
        (
            "[[mirrors]]\nurl = 'https://a.example/'\n"
            "auth = {type = 'basic', username = 'u', password = 1234}\n",
            "password: expected a string, got a number",
        ),
        ("[[mirrors]]\nurl = 'https://a.example/'\nheaders = {X-Key = 1234}\n", "got a number"),
        ("[[mirrors]]\nurl = 'https://u:hunter2/x@a.example/'\n", "credentials in a URL"),
        ("order = 'https://u:hunter2#x@a.example/?key=1234'\n", "credentials in a URL"),
        ("order = 'https://a.example:99999/?key=1234'\n", "not a URL"),
    ],
)
def test_toml_mistake_is_named_with_file_and_remedy(tmp_path, text, said):
    path = _toml(tmp_path, text)
    with pytest.raises(errors.ConfigError) as caught:
        loader.load(config_file=path, environ={})
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    # The folder that pytest made has a number, and one day 1234 is its turn.
    without_path = str(caught.value).replace(str(path), "")
    for secret in ("u:p", "hunter2", "1234"):
        assert secret not in without_path


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"FMNIST_TFDS_MIRORS": "x"}, "FMNIST_TFDS_MIRRORS"),
        ({"FMNIST_TFDS_OFFLINE": "maybe"}, "expected 1 or 0"),
        ({"FMNIST_TFDS_DEADLINE_S": "soon"}, "number of seconds"),
        ({"FMNIST_TFDS_CONFIG": "/no/such.toml"}, "cannot be read"),
        ({"FMNIST_TFDS_MIRRORS": "corp"}, "no name in the TOML file"),
        ({"FMNIST_TFDS_MIRRORS": ","}, "the list is empty"),
    ],
)
def test_variable_mistake_is_named(environ, said):
    with pytest.raises(errors.ConfigError) as caught:
        loader.load(environ=environ)
    assert said in str(caught.value)


def test_route_weighs_mirror_environment_and_general_settings(tmp_path):
    path = _toml(
        tmp_path,
        '[network]\nproxy = "http://general:1"\n'
        '[[mirrors]]\nname = "own"\nurl = "https://a.example/"\nproxy = "http://own:2"\n'
        '[[mirrors]]\nname = "none"\nurl = "https://b.example/"\nproxy = ""\n'
        '[[mirrors]]\nname = "any"\nurl = "https://c.example/"\n',
    )
    own, none, plain = loader.load(config_file=path, environ={}).mirrors
    for env, expected in (
        ({}, "http://general:1"),
        ({"https_proxy": "http://environment:3"}, "http://environment:3"),
        ({"HTTPS_PROXY": "http://environment:3", "NO_PROXY": ".example"}, None),
    ):
        found = loader.load(config_file=path, environ=env)
        assert found.route(own, own.url).proxy == "http://own:2"
        assert found.route(none, none.url).proxy is None
        assert found.route(plain, plain.url).proxy == expected


@pytest.mark.parametrize(
    ("host", "port", "no_proxy", "expected"),
    [
        ("a.example", None, "example", True),
        ("a.example", None, ".example", True),
        ("badexample", None, "example", False),
        ("a.example", 8080, "a.example:8080", True),
        ("a.example", 80, "a.example:8080", False),
        ("10.1.2.3", None, "10.0.0.0/8", True),
        ("11.1.2.3", None, "10.0.0.0/8", False),
        ("::1", None, "::1", True),
        ("::1", 8080, "[::1]:8080", True),
        ("::1", 80, "[::1]:8080", False),
        ("::1", 8080, "[::1]", True),
        ("a.example", None, "*", True),
        ("a.example", None, "", False),
    ],
)
def test_no_proxy_matches_as_the_conventions_say(host, port, no_proxy, expected):
    assert urls.bypasses_proxy(host, port, no_proxy) is expected


def test_secrets_are_resolved_late_and_named_when_missing(tmp_path, monkeypatch):
    secret = tmp_path / "pw.txt"
    secret.write_text("s3cret\n", encoding="utf-8")
    assert loader.resolve_secret(f"file:{secret}") == "s3cret"
    monkeypatch.setenv("ART_KEY", "k3y")
    assert loader.resolve_secret("env:ART_KEY") == "k3y"
    with pytest.raises(errors.ConfigError, match="NOT_SET"):
        loader.resolve_secret("env:NOT_SET")


def test_masked_url_shows_neither_password_nor_query_values():
    url = "https://user:pass@a.example/x?sig=abc&v=1#token=abc"
    assert urls.mask_url(url) == "https://***@a.example/x?***"
    assert settings.Mirror(url).title == "https://***@a.example/x?***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://ann:hun/ter2#x?@proxy:3128", "http://***@proxy:3128"),
        ("ann:hunter2@proxy:3128", "***@proxy:3128"),
        ("http://proxy:3128", "http://proxy:3128"),
        ("env:CORP_PROXY", "env:CORP_PROXY"),
    ],
)
def test_masked_proxy_shows_no_password_however_it_is_written(url, shown):
    assert urls.mask_proxy(url) == shown
