"""What the doctor says about variables and addresses, before it opens a socket."""

from __future__ import annotations

import pytest

from fmnist_tfds import catalog, errors
from fmnist_tfds.config import loader, settings, urls
from fmnist_tfds.doctor import environment, mirror_urls

PUBLIC = "https://mirror.example.org/fmnist/"


def _findings(tmp_path, environ, *mirrors):
    found = loader.load(mirrors=mirrors or (PUBLIC,), cache_dir=tmp_path, environ=environ)
    return environment.check(environ, found)


def _only(found):
    assert len(found) == 1, found
    return found[0]


def test_settings_without_contradictions_are_left_alone(tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    environ = {
        "HTTPS_PROXY": "http://proxy.corp:3128",
        "https_proxy": "http://proxy.corp:3128",
        "NO_PROXY": "localhost,.corp",
        "REQUESTS_CA_BUNDLE": str(bundle),
    }
    assert _findings(tmp_path, environ) == ()


def test_environment_names_the_spelling_that_wins(tmp_path):
    environ = {"HTTPS_PROXY": "http://a.corp:1", "https_proxy": "http://u:s3cret@b.corp:2"}
    found = _only(_findings(tmp_path, environ))
    assert found.subject == "HTTPS_PROXY"
    assert "lower-case one is used" in found.problem
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("http://proxy:port", "its port is no number"),
        ("http://[proxy", "is no host"),
        ("http://CORP\\user:s3cret@proxy:3128", "backslash"),
        ("ftp://proxy:21", "its scheme is none of http,"),
        ("http://", "no host"),
        ("http://proxy one:3128", "white space"),
        ("not a url", "white space"),
    ],
)
def test_environment_names_a_proxy_that_is_no_url(value, word, tmp_path):
    found = _only(_findings(tmp_path, {"https_proxy": value}))
    assert found.subject == "https_proxy"
    assert "is no proxy URL" in found.problem
    assert "s3cret" not in str(found)
    assert word in found.problem
    assert "export https_proxy=http://" in found.remedy


@pytest.mark.parametrize("value", ["proxy:3128", "http://u:p@proxy", "socks5h://127.0.0.1:1080"])
def test_environment_accepts_what_works_as_a_proxy(value):
    assert urls.proxy_problem(value) == ""


def test_environment_names_a_proxy_asked_by_tls(tmp_path):
    found = _only(_findings(tmp_path, {"https_proxy": "https://proxy.corp:3128"}))
    assert "TLS to the proxy itself" in found.problem
    assert "export https_proxy=http://proxy.corp:3128" in found.remedy


@pytest.mark.parametrize(
    "environ",
    [
        {"http_proxy": "http://u:s3cret@proxy.corp:1"},
        {"https_proxy": "https://u:s3cret@proxy.corp:1"},
        {"https_proxy": "http://proxy.corp:1", "HTTPS_PROXY": "http://u:s3cret@proxy.corp:2"},
        {"no_proxy": "http://u:s3cret@inner.example"},
        {"https_proxy": "http://p:1", "no_proxy": "*, u:s3cret@inner.example"},
    ],
)
def test_no_finding_shows_a_password(environ, tmp_path):
    found = _findings(tmp_path, environ)
    assert found
    assert "s3cret" not in str(found)


def test_finding_about_an_address_shows_no_query_and_the_mirrors_own_name(tmp_path):
    mirror = settings.Mirror(url="https://github.com/o/r/blob/main/?token=s3cret", name="pages")
    found = _only(_findings(tmp_path, {}, mirror))
    assert found.subject == "pages"
    assert "s3cret" not in str(found)


def test_mirror_with_a_proxy_of_its_own_needs_none_of_the_variables(tmp_path):
    own = settings.Mirror(url=PUBLIC, proxy="http://own.corp:1")
    assert _findings(tmp_path, {"http_proxy": "http://proxy.corp:3128"}, own) == ()
    both = {"http_proxy": "http://proxy.corp:1", "all_proxy": "http://proxy.corp:1"}
    assert _findings(tmp_path, both) == ()
    swallowed = {"https_proxy": "http://proxy.corp:3128", "no_proxy": "*"}
    assert _findings(tmp_path, swallowed, own) == ()


def test_environment_names_a_no_proxy_that_keeps_a_mirror_from_the_general_proxy(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(f'order = "{PUBLIC}"\n[network]\nproxy = "http://proxy.corp:1"\n')
    found = loader.load(config_file=path, environ={"no_proxy": "example.org"})
    assert "keeps mirror.example.org from the proxy" in _only(environment.check({}, found)).problem


def test_environment_names_a_missing_https_proxy(tmp_path):
    found = _only(_findings(tmp_path, {"http_proxy": "http://proxy.corp:3128"}))
    assert found.subject == "HTTPS_PROXY"
    assert found.remedy == "export HTTPS_PROXY=http://proxy.corp:3128"


def test_environment_names_a_ca_file_that_does_not_exist(tmp_path):
    found = _only(_findings(tmp_path, {"SSL_CERT_FILE": str(tmp_path / "gone.pem")}))
    assert "there is no such file" in found.problem
    assert "unset SSL_CERT_FILE" in found.remedy


def test_environment_names_a_ca_file_without_certificates_and_two_that_differ(tmp_path):
    der = tmp_path / "ca.der"
    der.write_bytes(b"\x30\x82")
    found = _findings(
        tmp_path, {"REQUESTS_CA_BUNDLE": str(der), "SSL_CERT_FILE": str(tmp_path / "x")}
    )
    problems = [f.problem for f in found]
    assert any("holds DER, no PEM certificate" in p for p in problems)
    assert any("name different files; REQUESTS_CA_BUNDLE is used" in p for p in problems)


@pytest.mark.parametrize(
    "rule", ["*", "example.org", ".example.org", "mirror.example.org", "mirror.example.org:443"]
)
def test_environment_names_a_no_proxy_that_swallows_a_mirror(rule, tmp_path):
    environ = {"https_proxy": "http://proxy.corp:3128", "no_proxy": rule}
    found = _only(_findings(tmp_path, environ))
    assert "keeps mirror.example.org from the proxy" in found.problem


def test_environment_leaves_no_proxy_for_inner_hosts_alone(tmp_path):
    environ = {"https_proxy": "http://proxy.corp:3128", "no_proxy": ".corp,10.0.0.0/8"}
    inner = ("https://artifactory.corp/fmnist/", "http://10.1.2.3/fmnist/")
    assert _findings(tmp_path, environ, *inner) == ()


def test_environment_names_a_no_proxy_that_holds_urls(tmp_path):
    found = _only(_findings(tmp_path, {"no_proxy": "https://mirror.example.org"}))
    assert "is no host name" in found.problem


@pytest.mark.parametrize(
    ("url", "word", "instead"),
    [
        (
            "https://b.s3-website-us-east-1.amazonaws.com/x/",
            "no TLS",
            "https://b.s3.us-east-1.amazonaws.com/x/",
        ),
        (
            "https://github.com/o/r/blob/main/data/{filename}",
            "GitHub web page",
            "https://github.com/o/r/raw/main/data/{filename}",
        ),
        ("https://gitlab.corp/o/r/-/blob/main/", "GitLab", "https://gitlab.corp/o/r/-/raw/main/"),
        (
            "https://huggingface.co/datasets/o/d/blob/main/",
            "Hugging Face",
            "https://huggingface.co/datasets/o/d/resolve/main/",
        ),
        ("https://drive.google.com/drive/folders/1x/", "Google Drive", "--manual_dir"),
        ("https://www.dropbox.com/s/x/", "share page", "--manual_dir"),
        ("https://corp.sharepoint.com/sites/x/", "share page", "--manual_dir"),
        ("https://www.kaggle.com/datasets/zalando-research/fashionmnist", "login", "adopt"),
        (
            "https://console.cloud.google.com/storage/browser/b/x/",
            "console",
            "https://storage.googleapis.com/b/x/",
        ),
        ("http://yann.lecun.com/exdb/mnist/", "MNIST digits", "default"),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "MNIST digits", "default"),
        ("https://apache-mxnet.s3-accelerate.amazonaws.com/x/", "revision of 26", "default"),
    ],
)
def test_addresses_that_cannot_work_are_named_with_what_to_write(url, word, instead):
    problem, remedy = mirror_urls.problem_of(url)
    assert word in problem
    assert instead in remedy


@pytest.mark.parametrize("url", catalog.FASHION_MNIST.mirrors)
def test_addresses_of_the_public_mirrors_can_work(url):
    assert mirror_urls.problem_of(url) == ("", "")


def test_addresses_are_part_of_the_contradictions(tmp_path):
    found = _only(_findings(tmp_path, {}, "https://github.com/o/r/tree/main/"))
    assert found.remedy == "write https://github.com/o/r/raw/main/"


def test_rewritten_website_endpoint_is_told(tmp_path):
    host = "https://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    found = _only(_findings(tmp_path, {}, host))
    assert "cannot work" in found.problem


def test_toml_syntax_error_names_line_and_column(tmp_path):
    path = tmp_path / "mirrors.toml"
    path.write_text('[network]\nproxy = "http://x\n')
    with pytest.raises(errors.ConfigError, match=r"line 2, column \d+"):
        loader.load(config_file=path, environ={})


def test_contradictions_do_not_read_the_process_environment(tmp_path):
    found = settings.Settings(mirrors=(settings.Mirror(url=PUBLIC),), cache_dir=tmp_path)
    assert environment.check({}, found) == ()
