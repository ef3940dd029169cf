"""TLS: verified unless one mirror says otherwise; a client certificate stays at home."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import struct
import threading

import family
import jobs
import peers
import pytest
import requests.adapters
import urllib3.connection
import urllib3.util.ssl_

from fmnist_tfds.config import settings


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return peers.Authority(tmp_path_factory.mktemp("tls") / "ours", "House of Mirrors")


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue("mirror.example")


def _with(effective, *mirrors):
    return dataclasses.replace(effective, mirrors=mirrors)


def test_an_authority_that_nobody_named_is_not_trusted(tmp_path, certificate):
    for trust in ("system", "certifi"):
        with peers.TlsMirror(jobs.BODIES, certificate) as mirror:
            effective = jobs.options(tmp_path / trust, mirror.url, attempts=1, trust=trust)
            result = jobs.run(effective)
        assert jobs.causes(result) in (["tls-untrusted"], ["tls-intercepted"])
        assert mirror.seen == []


@pytest.mark.parametrize(("trust", "arrives"), [("certifi", True), ("system", False)])
def test_certifi_is_trusted_where_it_is_named(
    tmp_path, authority, certificate, monkeypatch, trust, arrives
):
    # As if certifi held our authority, which the operating system does not know.
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(authority.bundle))
    with peers.TlsMirror(jobs.BODIES, certificate) as mirror:
        effective = jobs.options(tmp_path, mirror.url, attempts=1, trust=trust)
        assert jobs.is_here(jobs.run(effective)) is arrives


@pytest.mark.parametrize("where", ["mirror", "environment", "network"])
@pytest.mark.parametrize("trust", ["system", "certifi"])
def test_the_authority_is_taken_from_mirror_variable_or_toml(
    tmp_path, authority, certificate, where, trust
):
    with peers.TlsMirror(jobs.BODIES, certificate) as server:
        mirror = settings.Mirror(
            server.url, ca_bundle=authority.bundle if where == "mirror" else None
        )
        environment = settings.Environment(
            ca_bundle=authority.bundle if where == "environment" else None
        )
        effective = jobs.options(
            tmp_path,
            mirror,
            environment=environment,
            trust=trust,
            ca_bundle=authority.bundle if where == "network" else None,
        )
        assert jobs.is_here(jobs.run(effective))
    route = jobs.receipt(tmp_path)[jobs.BIG.name]["route"]
    assert route == {
        "proxy": None,
        "proxy_origin": "none",
        "tls_issuer": "House of Mirrors",
        "insecure_tls": False,
    }


def test_an_authority_lacking_what_rfc_5280_asks_for_is_taken_on_every_python(
    tmp_path, authority, certificate, monkeypatch
):
    made = urllib3.util.create_urllib3_context

    def as_on_python_3_13(*args, **kwargs):
        context = made(*args, **kwargs)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    for module in (urllib3.util, urllib3.util.ssl_, urllib3.connection):
        monkeypatch.setattr(module, "create_urllib3_context", as_on_python_3_13)
    with peers.TlsMirror(jobs.BODIES, certificate) as server:
        mirror = settings.Mirror(server.url, ca_bundle=authority.bundle)
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror)))


def test_insecure_tls_holds_for_its_mirror_alone(tmp_path, certificate):
    def missing(handler, name, body):
        family.send(handler, 404)

    with (
        peers.TlsMirror(jobs.BODIES, certificate, answer=missing) as careless,
        peers.TlsMirror(jobs.BODIES, certificate) as strict,
    ):
        mirrors = (settings.Mirror(careless.url, insecure_tls=True), settings.Mirror(strict.url))
        result = jobs.run(jobs.options(tmp_path, *mirrors, attempts=1))
    assert jobs.causes(result)[0] == "not-found"
    assert jobs.causes(result)[1] in ("tls-untrusted", "tls-intercepted")
    assert strict.seen == []


def test_insecure_tls_needs_no_authority_and_minds_no_wrong_one(tmp_path, certificate):
    other = peers.Authority(tmp_path / "other", "Another")
    for number, bundle in enumerate((tmp_path / "no-such.pem", other.bundle)):
        with peers.TlsMirror(jobs.BODIES, certificate) as server:
            mirror = settings.Mirror(server.url, insecure_tls=True, ca_bundle=bundle)
            assert jobs.is_here(jobs.run(jobs.options(tmp_path / str(number), mirror)))


def test_the_receipt_says_that_tls_was_not_verified(tmp_path, certificate):
    with peers.TlsMirror(jobs.BODIES, certificate) as server:
        mirror = settings.Mirror(server.url, insecure_tls=True)
        outcome = jobs.obtained(jobs.options(tmp_path, mirror))
    assert outcome.error is None
    for entry in (*outcome.receipt["files"].values(), *jobs.receipt(tmp_path).values()):
        assert entry["route"]["insecure_tls"] is True


def test_the_client_certificate_is_shown_at_home_and_nowhere_else(tmp_path, authority, certificate):
    me = authority.issue("me")
    with peers.TlsMirror(jobs.BODIES, certificate, clients_of=authority.bundle) as stranger:

        def away(handler, name, body):
            family.send(handler, 302, Location=stranger.url + name)

        with peers.TlsMirror(
            jobs.BODIES, certificate, clients_of=authority.bundle, answer=away
        ) as home:
            mirror = settings.Mirror(home.url, ca_bundle=authority.bundle, client_cert=me)
            assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror)))
    assert home.clients == ["me"]
    assert stranger.clients == [None]


def test_the_client_certificate_is_shown_to_no_server_that_is_not_trusted(tmp_path, authority):
    me = authority.issue("me")
    nobody = peers.Authority(tmp_path / "nobody", "Nobody")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(nobody.issue("mirror.example"))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(authority.bundle)
    shown = []

    def listen():
        with contextlib.suppress(OSError):  # the listener is shut down
            while True:
                connection = listener.accept()[0]
                with (
                    contextlib.suppress(ssl.SSLError),
                    connection,
                    context.wrap_socket(connection, server_side=True) as secure,
                ):
                    shown.append(secure.getpeercert())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        mirror = settings.Mirror(url, ca_bundle=authority.bundle, client_cert=me)
        result = jobs.run(jobs.options(tmp_path, mirror, attempts=1))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(jobs.LONGEST_S)
    # It was looked at twice, and the second time every certificate is accepted, to read who signed.
    assert "signed by Nobody" in result.files[jobs.BIG.name].attempts[0].evidence
    assert shown
    assert not any(shown)


def test_what_a_second_look_meets_does_not_take_the_place_of_the_first_failure(tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))

    def cut_and_gone():
        with listener, listener.accept()[0] as connection:
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    thread = threading.Thread(target=cut_and_gone)
    thread.start()
    url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
    result = jobs.run(jobs.options(tmp_path, url, attempts=1))
    thread.join(jobs.LONGEST_S)
    assert jobs.causes(result) == ["reset"]


@pytest.mark.parametrize("allowed", [False, True])
def test_a_redirect_from_https_to_http_is_followed_only_where_allowed(
    tmp_path, authority, certificate, allowed
):
    with family.Mirror(jobs.BODIES) as plain:

        def down(handler, name, body):
            family.send(handler, 302, Location=plain.url + name)

        with peers.TlsMirror(jobs.BODIES, certificate, answer=down) as secure:
            mirror = settings.Mirror(
                secure.url, ca_bundle=authority.bundle, allow_http_redirect=allowed
            )
            result = jobs.run(jobs.options(tmp_path, mirror))
    assert jobs.is_here(result) is allowed
    assert jobs.causes(result) == ([] if allowed else ["insecure-redirect"])
    assert len(plain.seen) == (1 if allowed else 0)


def test_by_default_a_mirror_is_verified_and_keeps_to_https():
    mirror = settings.Mirror("https://mirror.example/")
    assert (mirror.insecure_tls, mirror.allow_http_redirect) == (False, False)
