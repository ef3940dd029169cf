"""Templates by content, [[rewrites]], [messages], user_agent, limits: as a user writes them."""

from __future__ import annotations

import hashlib
import pathlib

import pytest

from fmnist_tfds import artifacts, catalog, errors
from fmnist_tfds.config import loader, rewrites, settings, urls

FILE = catalog.FASHION_MNIST.files[0]


def _load(tmp_path, text, **more):
    file = tmp_path / "config.toml"
    file.write_text(text)
    return loader.load(config_file=file, environ={}, **more)


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("https://m.example/{sha256}", f"https://m.example/{FILE.sha256}"),
        ("https://m.example/{md5}/x", "https://m.example/8d4fb7e6c68d591d4c3dfef9ec88bf0d/x"),
        ("https://m.example/{sha1}", "https://m.example/95978b76b6897f6ca69a25145d01716efb615989"),
        (
            "https://m.example/sha1_git:{sha1_git}/raw/",
            "https://m.example/sha1_git:e6ee0e37929b03937517cd45e65f4e8ca9de720d/raw/",
        ),
        ("https://m.example/{size}-{filename}?k=1", f"https://m.example/26421880-{FILE.name}?k=1"),
        (
            "s3://bucket/prefix/{url_sha256}",
            "s3://bucket/prefix/" + hashlib.sha256(FILE.url.encode()).hexdigest(),
        ),
    ],
)
def test_template_names_the_file_by_its_content(template, url):
    (mirror,) = loader.load(mirrors=template, environ={}).mirrors
    assert mirror.url_for(FILE) == url


def test_template_of_a_folder_names_the_file_by_its_content(tmp_path):
    (mirror,) = loader.load(mirrors=f"{tmp_path}/{{sha256}}.gz", environ={}).mirrors
    assert mirror.url_for(FILE) == (tmp_path / f"{FILE.sha256}.gz").as_uri()


def test_digests_of_the_catalog_are_those_of_the_real_files(real_data):
    for file in catalog.FASHION_MNIST.files:
        data = (real_data / file.name).read_bytes()
        assert file.md5 == hashlib.md5(data).hexdigest()
        assert file.sha1 == hashlib.sha1(data).hexdigest()
        assert file.sha1_git == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.mark.parametrize("entry", ["https://m.example/{sha265}", "/folder/{sha265}"])
def test_unknown_placeholder_gets_the_nearest_one(entry):
    with pytest.raises(errors.ConfigError) as caught:
        loader.load(mirrors=entry, environ={})
    assert "unknown placeholder {sha265}" in caught.value.message
    assert "the nearest valid one is {sha256}" in caught.value.hint


def test_what_a_template_cannot_name_is_said():
    mirror = settings.Mirror("https://m.example/{md5}")
    assert mirror.lacks(artifacts.Artifact(name="a", size_bytes=1, sha256="0")) == "md5"
    assert mirror.lacks(FILE) == ""


REWRITES = """
order = "https://github.com/a/, https://other.example/b/"
[[rewrites]]
from = "https://github.com/"
to = ["https://artifactory.example/github/", "https://second.example/"]
[[rewrites]]
from = "https://github.com/a/"
to = ["https://longest.example/"]
"""


def test_longest_beginning_wins_and_what_no_rule_is_for_stays(tmp_path):
    found = _load(tmp_path, REWRITES)
    assert [m.url for m in found.mirrors] == [
        "https://longest.example/",
        "https://other.example/b/",
    ]


def test_several_targets_are_tried_in_order(tmp_path):
    found = _load(tmp_path, REWRITES, mirrors="https://github.com/z/")
    assert [m.url for m in found.mirrors] == [
        "https://artifactory.example/github/z/",
        "https://second.example/z/",
    ]


def test_mirrors_that_are_rewritten_to_one_are_asked_once(tmp_path):
    found = _load(tmp_path, REWRITES, mirrors="https://github.com/a/, https://longest.example/")
    assert [m.url for m in found.mirrors] == ["https://longest.example/"]


def test_default_mirrors_are_rewritten_too(tmp_path):
    text = '[[rewrites]]\nfrom = "https://"\nto = ["https://proxy.example/"]'
    found = _load(tmp_path, text, mirrors="default")
    secure = [m.url for m in found.mirrors if m.url.startswith("https:")]
    assert secure
    assert all(url.startswith("https://proxy.example/") for url in secure)


def test_rewritten_url_gets_the_credentials_of_its_new_host_and_no_other(tmp_path):
    text = """
    order = "here"
    [[mirrors]]
    name = "here"
    url = "https://old.example/data/"
    auth = { type = "bearer", token = "env:OLD" }
    [[mirrors]]
    name = "there"
    url = "https://new.example/"
    auth = { type = "bearer", token = "env:NEW" }
    [[mirrors]]
    name = "deep"
    url = "https://new.example/deep/{filename}"
    auth = { type = "bearer", token = "env:DEEP" }
    [[rewrites]]
    from = "https://old.example/"
    to = ["https://new.example/old/", "https://new.example/deep/", "https://stranger.example/"]
    """
    first, deep, last = _load(tmp_path, text).mirrors
    assert (first.url, first.auth.token) == ("https://new.example/old/data/", "env:NEW")
    # Of two that the URL begins with, the one that says more.
    assert (deep.url, deep.auth.token) == ("https://new.example/deep/data/", "env:DEEP")
    assert (last.url, last.auth, last.name) == ("https://stranger.example/data/", None, "here")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[rewrites]]\nfrom = "a"\nto = ["https://b/"]', ".from: expected the beginning of a URL"),
        ('[[rewrites]]\nfrom = "https://a/"\nto = []', ".to: expected an array of beginnings"),
        ('[[rewrites]]\nfrom = "https://a/"', ".to: expected an array of beginnings"),
        ('[[rewrites]]\nfrom = "https://a/"\nto = "https://b/"', "expected an array, got a string"),
        ('[[rewrites]]\nfrmo = "https://a/"\nto = ["https://b/"]', "unknown key 'frmo'"),
        ("rewrites = [1]", "expected a table, got a number"),
        (
            '[[rewrites]]\nfrom = "https://a/"\nto = ["https://b/"]\n'
            '[[rewrites]]\nfrom = "https://b/"\nto = ["https://a/x/"]',
            "a loop: https://a/ is rewritten",
        ),
        ('[messages]\nblockt = "x"', "the nearest valid key is 'blocked'"),
        ("[network]\nlimit_rate_bytes_per_s = -1", "expected at least 0, got -1"),
        ("[network]\nlimit_rate_bytes_per_s = 1.5", "expected a whole number"),
        ('[network]\nuser_agent = "two\\nlines"', "expected one line of ASCII"),
        (
            '[[mirrors]]\nurl = "https://a/"\nuser_agent = "two\\r\\nX: y"',
            "expected one line of ASCII",
        ),
    ],
)
def test_wrong_table_is_one_message(tmp_path, text, said):
    with pytest.raises(errors.ConfigError) as caught:
        _load(tmp_path, text)
    assert said in str(caught.value)


def test_chain_that_does_not_come_back_is_no_loop(tmp_path):
    text = (
        '[[rewrites]]\nfrom = "https://a.example/"\nto = ["https://b.example/"]\n'
        '[[rewrites]]\nfrom = "https://b.example/"\nto = ["https://c.example/"]'
    )
    found = _load(tmp_path, text, mirrors="https://a.example/")
    # What was rewritten is not rewritten again.
    assert [m.url for m in found.mirrors] == ["https://b.example/"]


def test_no_rule_no_change():
    assert rewrites.apply(settings.Mirror("https://a/"), (), ()) == []


@pytest.mark.parametrize("between", [" ", ", ", "\t", ",,", "  "])
def test_no_proxy_may_stand_between_blanks(between):
    text = f"a.example{between}b.example"
    for host in ("a.example", "x.b.example"):
        assert urls.bypasses_proxy(host, 443, text)
    assert not urls.bypasses_proxy("c.example", 443, text)


def test_messages_and_limits_reach_the_settings(tmp_path):
    text = '''
    [network]
    user_agent = "our-mirror/1.0"
    limit_rate_bytes_per_s = 500000
    [messages]
    blocked = """
      ask netops@corp.example,
      form 17"""
    '''
    found = _load(tmp_path, text)
    assert found.network.user_agent == "our-mirror/1.0"
    assert found.network.limit_rate_bytes_per_s == 500_000
    assert found.blocked_message == "ask netops@corp.example, form 17"
    assert isinstance(found.config_file, pathlib.Path)
