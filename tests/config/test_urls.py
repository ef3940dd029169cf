"""URLs: two parsers never see two hosts in one, and a scheme has one default port."""

from __future__ import annotations

import urllib.parse

import pytest
import urllib3.util

from fmnist_tfds import errors
from fmnist_tfds.config import urls


def test_a_proxy_in_which_two_parsers_see_two_hosts_is_refused():
    url = "http://CORP\\user:s3cret@proxy.example:3128"
    # The kind of fault: one looks the domain up, the other the proxy.
    assert urllib.parse.urlsplit(url).hostname == "proxy.example"
    assert urllib3.util.parse_url(url).host == "corp"
    assert "%5C" in urls.proxy_problem(url)
    assert "s3cret" not in urls.proxy_problem(url)
    assert urls.proxy_problem(url.replace("\\", "%5C")) == ""


def test_a_mirror_in_which_two_parsers_see_two_hosts_is_refused():
    with pytest.raises(errors.ConfigError, match="backslash"):
        urls.checked_mirror("https://a.example\\.b.example/", "mirrors")


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://a.example", 80),
        ("HTTPS://a.example", 443),
        ("https://a.example:8443", 8443),
        ("socks5://a.example", 1080),
    ],
)
def test_a_scheme_has_one_default_port(url, port):
    assert urls.port_of(urllib.parse.urlsplit(url)) == port
