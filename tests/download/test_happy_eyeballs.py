"""A host of several addresses is reached by the first that answers, at the cost of 250 ms each."""

from __future__ import annotations

import contextlib
import errno
import socket

import family
import jobs
import pytest

from fmnist_tfds.config import settings
from fmnist_tfds.download.transport import handshake, happy_eyeballs

NAME = "several.example"


@contextlib.contextmanager
def black_hole():
    """A loopback address that answers no SYN: its backlog is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address


@pytest.fixture
def resolver(monkeypatch):
    """Makes NAME have these (address, port)s, whatever port is asked for."""
    stock = socket.getaddrinfo

    def has(*addresses):
        def look_up(host, port, *more, **options):
            if host != NAME:
                return stock(host, port, *more, **options)
            return [(family_, socket.SOCK_STREAM, 6, "", address) for family_, address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return has


def _v4(address):
    return socket.AF_INET, address


@pytest.mark.parametrize("holes", [1, 2])
def test_black_holed_addresses_before_a_good_one_cost_no_time_out(resolver, holes):
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        dead = [_v4(stack.enter_context(black_hole())) for _ in range(holes)]
        resolver(*dead, _v4(good.getsockname()))
        with happy_eyeballs.connect(NAME, 1, 60.0, delay_s=0.02) as sock:
            assert sock.getpeername() == good.getsockname()
            assert sock.gettimeout() == 60.0
            assert sock.getblocking()


def test_refusal_starts_the_next_address_at_once(resolver, closed_port):
    with socket.create_server(("127.0.0.1", 0)) as good:
        resolver(_v4(("127.0.0.1", closed_port)), _v4(good.getsockname()))
        with happy_eyeballs.connect(NAME, 1, 60.0, delay_s=3600.0) as sock:
            assert sock.getpeername() == good.getsockname()


def test_first_address_is_alone_where_it_answers(resolver):
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("127.0.0.1", 0)) as second,
    ):
        resolver(_v4(first.getsockname()), _v4(second.getsockname()))
        with happy_eyeballs.connect(NAME, 1, 60.0, delay_s=3600.0) as sock:
            assert sock.getpeername() == first.getsockname()
        second.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.accept()


def test_socket_has_the_options_that_were_asked_for():
    kept_alive = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        happy_eyeballs.connect(*server.getsockname(), 60.0, options=[kept_alive]) as sock,
    ):
        assert sock.getsockopt(*kept_alive[:2])


def test_families_take_turns():
    entries = [
        (family_, 1, 6, "", (name, 1)) for family_, name in zip("666444", "abcxyz", strict=True)
    ]
    turned = happy_eyeballs._interleaved(entries)
    assert [entry[4][0] for entry in turned] == ["a", "x", "b", "y", "c", "z"]


def test_every_address_is_named_where_none_answers(resolver, closed_port):
    with black_hole() as hole:
        resolver(_v4(("127.0.0.1", closed_port)), _v4(hole))
        with pytest.raises(TimeoutError) as caught:
            happy_eyeballs.connect(NAME, 1, 0.2, delay_s=0.02)
    assert caught.value.tried == ("127.0.0.1: connection refused", "127.0.0.1: no answer")


def test_refusals_of_all_addresses_are_a_refusal(resolver, closed_port):
    resolver(_v4(("127.0.0.1", closed_port)), _v4(("127.0.0.1", closed_port)))
    with pytest.raises(OSError) as caught:
        happy_eyeballs.connect(NAME, 1, 60.0)
    assert caught.value.errno == errno.ECONNREFUSED
    assert len(caught.value.tried) == 2


def test_zone_of_an_address_may_be_written_as_in_a_url(monkeypatch):
    asked = []

    def look_up(host, port, **options):
        asked.append(host)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for host in ("[fe80::1%25lo]", "fe80::1%25lo", "fe80::1%lo"):
        with pytest.raises(socket.gaierror):
            happy_eyeballs.connect(host, 80, 1.0)
    assert asked == ["fe80::1%lo"] * 3


def test_download_goes_past_a_dead_address(tmp_path, resolver):
    with family.Mirror(jobs.BODIES) as mirror, black_hole() as hole:
        port = int(mirror.url.rpartition(":")[2].strip("/"))
        resolver(_v4(hole), _v4(("127.0.0.1", port)))
        result = jobs.run(jobs.options(tmp_path, f"http://{NAME}:{port}/"))
    assert jobs.is_here(result)
    assert jobs.causes(result) == []


def test_failure_of_a_mirror_says_what_each_address_did(tmp_path, resolver, closed_port):
    address = _v4(("127.0.0.1", closed_port))
    resolver(address, address)
    result = jobs.run(jobs.options(tmp_path, f"http://{NAME}:{closed_port}/", attempts=1))
    (attempt,) = result.files[jobs.BIG.name].attempts
    assert attempt.cause == "connect-refused"
    assert attempt.evidence.count("127.0.0.1: connection refused") == 2


def test_doctor_goes_past_a_dead_address_too(resolver):
    with socket.create_server(("127.0.0.1", 0)) as good, black_hole() as hole:
        resolver(_v4(hole), _v4(good.getsockname()))
        url = f"http://{NAME}:1/"
        with handshake.Connection(url, settings.Route(), 60.0) as conn:
            assert conn.connect().why is None
