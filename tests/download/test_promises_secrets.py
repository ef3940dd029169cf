"""Credentials: sent where they are meant for, nowhere else, and only those that the user named."""

from __future__ import annotations

import base64

import family
import jobs
import peers
import pytest

from fmnist_tfds.config import settings


def _basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login ann password from-netrc\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    return path


AUTHS = {
    "bearer": (settings.Auth("bearer", token="env:TOKEN"), "Bearer t0ken"),
    "basic": (
        settings.Auth("basic", username="ann", password="env:PASSWORD"),
        _basic("ann", "pa:ss w"),
    ),
    "netrc": (settings.Auth("netrc"), _basic("ann", "from-netrc")),
}


@pytest.mark.parametrize("kind", AUTHS)
def test_credentials_are_sent_home_and_to_no_other_host(tmp_path, monkeypatch, netrc, kind):
    monkeypatch.setenv("TOKEN", "t0ken")
    monkeypatch.setenv("PASSWORD", "pa:ss w")
    auth, expected = AUTHS[kind]

    def away(handler, name, body):
        # The same server by another name: the host counts, not the machine.
        if handler.headers["Host"].startswith("127."):
            family.send(handler, 302, Location=other + name)
        else:
            family.send(handler, 200, body)

    with family.Mirror(jobs.BODIES, away) as mirror:
        other = mirror.url.replace("127.0.0.1", "localhost")
        effective = jobs.options(tmp_path, settings.Mirror(mirror.url, auth=auth))
        assert jobs.is_here(jobs.run(effective))
    (_, home), (_, stranger) = mirror.seen
    assert home["Authorization"] == expected
    assert "Authorization" not in stranger


@pytest.mark.parametrize("name", ["Cookie", "authorization", "PROXY-AUTHORIZATION"])
def test_a_header_that_is_a_secret_by_its_name_stays_at_home_in_any_case(tmp_path, name):
    with family.Mirror(jobs.BODIES) as stranger:

        def away(handler, asked, body):
            family.send(handler, 302, Location=stranger.url + asked)

        headers = ((name, "literal"), ("X-Team", "vision"))
        with family.Mirror(jobs.BODIES, away) as home:
            effective = jobs.options(tmp_path, settings.Mirror(home.url, headers=headers))
            assert jobs.is_here(jobs.run(effective))
    assert home.seen[0][1][name] == "literal"
    assert name not in stranger.seen[0][1]
    assert stranger.seen[0][1]["X-Team"] == "vision"


def test_once_away_credentials_are_not_sent_home_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "t0ken")
    asked = []

    def ping_pong(handler, name, body):
        asked.append(handler.headers["Authorization"])
        if len(asked) == 1:
            family.send(handler, 302, Location=stranger.url + name)
        else:
            family.send(handler, 200, body)

    def back(handler, name, body):
        family.send(handler, 302, Location=home.url + name)

    with (
        family.Mirror(jobs.BODIES, ping_pong) as home,
        family.Mirror(jobs.BODIES, back) as stranger,
    ):
        mirror = settings.Mirror(home.url, auth=settings.Auth("bearer", token="env:TOKEN"))
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror)))
    assert asked == ["Bearer t0ken", None]


def _upgraded(tmp_path, monkeypatch, origin):
    """The token that a mirror gets, which leads to https, and the one that comes there.

    Args:
        origin: the mirror's host and port.
    """
    monkeypatch.setenv("TOKEN", "t0ken")
    authority = peers.Authority(tmp_path / "ca", "Ours")
    plain = []

    def upgrade(handler, path):
        plain.append(handler.headers["Authorization"])
        family.send(handler, 301, Location=f"https://mirror.example{path}")

    with peers.TlsMirror(jobs.BODIES, authority.issue("mirror.example")) as secure:
        origins = {origin: upgrade, "mirror.example:443": peers.port_of(secure)}
        with peers.Proxy(origins) as proxy:
            mirror = settings.Mirror(
                f"http://{origin.removesuffix(':80')}/",
                proxy=proxy.url,
                ca_bundle=authority.bundle,
                auth=settings.Auth("bearer", token="env:TOKEN"),
            )
            assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror)))
    return plain, secure.seen[0][1].get("Authorization")


def test_credentials_follow_a_mirror_to_its_own_https(tmp_path, monkeypatch):
    found = _upgraded(tmp_path, monkeypatch, "mirror.example:80")
    assert found == (["Bearer t0ken"], "Bearer t0ken")


def test_credentials_follow_from_no_other_port_to_https(tmp_path, monkeypatch):
    # What listens on another port may belong to somebody else.
    _, secure = _upgraded(tmp_path, monkeypatch, "mirror.example:8080")
    assert secure is None


def test_credentials_never_follow_a_mirror_from_https_down_to_http(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "t0ken")
    authority = peers.Authority(tmp_path / "ca", "Ours")
    plain = []

    def down(handler, name, body):
        family.send(handler, 302, Location=f"http://mirror.example/{name}")

    def serve(handler, path):
        plain.append(handler.headers["Authorization"])
        family.send(handler, 200, jobs.BODIES[path.rpartition("/")[2]])

    with peers.TlsMirror(jobs.BODIES, authority.issue("mirror.example"), answer=down) as secure:
        origins = {"mirror.example:80": serve, "mirror.example:443": peers.port_of(secure)}
        with peers.Proxy(origins) as proxy:
            mirror = settings.Mirror(
                "https://mirror.example/",
                proxy=proxy.url,
                ca_bundle=authority.bundle,
                auth=settings.Auth("bearer", token="env:TOKEN"),
                allow_http_redirect=True,
            )
            assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror)))
    assert secure.seen[0][1]["Authorization"] == "Bearer t0ken"
    assert plain == [None]


def test_netrc_serves_the_hosts_that_it_names(tmp_path, netrc):
    with family.Mirror(jobs.BODIES) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path / "1", mirror.url)))
        other = mirror.url.replace("127.0.0.1", "localhost")
        assert jobs.is_here(jobs.run(jobs.options(tmp_path / "2", other)))
    assert mirror.seen[0][1]["Authorization"] == _basic("ann", "from-netrc")
    assert "Authorization" not in mirror.seen[1][1]


def test_default_entry_of_netrc_is_for_nobody_here(tmp_path, netrc, monkeypatch):
    path = tmp_path / "another"
    path.write_text("default login ann password from-netrc\n")
    monkeypatch.setenv("NETRC", str(path))
    with family.Mirror(jobs.BODIES) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))
    assert "Authorization" not in mirror.seen[0][1]


def test_login_of_the_settings_beats_netrc(tmp_path, netrc, monkeypatch):
    monkeypatch.setenv("TOKEN", "t0ken")
    with family.Mirror(jobs.BODIES) as mirror:
        by_auth = settings.Mirror(mirror.url, auth=settings.Auth("bearer", token="env:TOKEN"))
        by_header = settings.Mirror(mirror.url, headers=(("authorization", "Basic eA=="),))
        assert jobs.is_here(jobs.run(jobs.options(tmp_path / "1", by_auth)))
        assert jobs.is_here(jobs.run(jobs.options(tmp_path / "2", by_header)))
    sent = [{name.lower(): text for name, text in headers.items()} for _, headers in mirror.seen]
    assert [headers["authorization"] for headers in sent] == ["Bearer t0ken", "Basic eA=="]


def test_variables_of_the_process_count_only_as_the_settings_say(
    tmp_path, monkeypatch, closed_port
):
    """Proxies and authorities come from `settings.Environment`, which `config` filled in."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "no-such.pem"))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "no-such.pem"))
    authority = peers.Authority(tmp_path / "ca", "Ours")
    with peers.TlsMirror(jobs.BODIES, authority.issue("mirror.example")) as secure:
        own = settings.Mirror(secure.url, ca_bundle=authority.bundle)
        assert jobs.is_here(jobs.run(jobs.options(tmp_path / "own", own)))
        blind = settings.Mirror(secure.url, insecure_tls=True)
        assert jobs.is_here(jobs.run(jobs.options(tmp_path / "blind", blind)))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
        monkeypatch.setenv("CURL_CA_BUNDLE", str(authority.bundle))
        result = jobs.run(jobs.options(tmp_path / "plain", secure.url, attempts=1))
    assert jobs.causes(result) in (["tls-untrusted"], ["tls-intercepted"])


def test_a_mirror_may_have_a_user_agent_of_its_own(tmp_path):
    with family.Mirror(jobs.BODIES) as mirror:
        named = settings.Mirror(mirror.url, headers=(("User-Agent", "house/1"),))
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, named)))
    assert mirror.seen[0][1]["User-Agent"] == "house/1"
