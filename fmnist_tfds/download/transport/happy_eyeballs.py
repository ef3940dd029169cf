"""One TCP connection to a host with several addresses: to the first that answers.

A dead address costs 250 ms instead of the whole time-out, whichever family it is of.

Source: RFC 8305, sections 4 (interleaving the families) and 5 (one attempt every 250 ms). urllib3
tries addresses one after the other, asyncio's own implementation needs an event loop.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import selectors
import socket
import time
from collections.abc import Sequence
from typing import Any

DELAY_S = 0.25
# What connect_ex of a non-blocking socket returns while it connects.
_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 10035))
# Of the errors of several addresses the first of these is reported: it tells most.
_TELLING = (errno.ECONNREFUSED, errno.EACCES, errno.EPERM, errno.ENETUNREACH, errno.EHOSTUNREACH)


class NoConnectionError(OSError):
    """No address of a host gave a connection.

    Attributes:
        tried: what each address said, for people; empty for a host of one address.
    """

    tried: tuple[str, ...] = ()


class NoConnectionInTimeError(NoConnectionError, TimeoutError):
    """No address gave a connection in time."""


def connect(
    host: str,
    port: int,
    timeout_s: float | None,
    *,
    options: Sequence[tuple[Any, ...]] = (),
    delay_s: float = DELAY_S,
) -> socket.socket:
    """A connected, blocking socket whose time-out is `timeout_s`.

    Args:
        host: name or address; an IPv6 zone may be written %25 as in a URL.
        port: TCP port.
        timeout_s: for all addresses together, after the look-up; None: the system's.
        options: arguments of `setsockopt`.
        delay_s: how long one address may be silent before the next is tried beside it.

    Raises:
        socket.gaierror: the name has no address.
        NoConnectionInTimeError: none answered in time.
        NoConnectionError: every address refused, or cannot be reached.
    """
    host = host.strip("[]").replace("%25", "%") if ":" in host else host
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    race = _Race(_interleaved(found), options, timeout_s, delay_s)
    with contextlib.closing(race):
        winner = race.run()
    winner.settimeout(timeout_s)
    return winner


def _interleaved(found: Sequence[Any]) -> list[Any]:
    """The addresses with the families in turn, the system's first family in front."""
    families = dict.fromkeys(entry[0] for entry in found)
    columns = [[entry for entry in found if entry[0] == family] for family in families]
    rows = itertools.zip_longest(*columns)
    return [entry for row in rows for entry in row if entry is not None]


class _Race:
    def __init__(
        self,
        addresses: Sequence[Any],
        options: Sequence[tuple[Any, ...]],
        timeout_s: float | None,
        delay_s: float,
    ) -> None:
        self._waiting = list(addresses)
        self._several = len(addresses) > 1
        self._options = options
        self._delay_s = delay_s
        self._end_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._selector = selectors.DefaultSelector()
        self._errors: list[tuple[str, int]] = []

    def run(self) -> socket.socket:
        while self._waiting or self._selector.get_map():
            if self._waiting:
                self._begin(self._waiting.pop(0))
            if winner := self._wait():
                return winner
            if self._left_s() == 0:
                break
        raise self._failure()

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            self._drop(key.fileobj)
        self._selector.close()

    def _begin(self, entry: Any) -> None:
        family, kind, protocol, _, address = entry
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # no such family on this machine
            self._errors.append((str(address[0]), error.errno or 0))
            return
        try:
            for option in self._options:
                sock.setsockopt(*option)
            sock.setblocking(False)
            if (code := sock.connect_ex(address)) not in _UNDER_WAY:
                raise OSError(code, os.strerror(code))
        except OSError as error:
            self._errors.append((str(address[0]), error.errno or 0))
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            self._selector.register(sock, selectors.EVENT_WRITE, str(address[0]))

    def _wait(self) -> socket.socket | None:
        """The socket that is connected; None when the next address is due, or time is up."""
        due_s = time.monotonic() + self._delay_s
        while self._selector.get_map():
            left_s = self._left_s()
            if self._waiting:
                until_due_s = max(0.0, due_s - time.monotonic())
                left_s = until_due_s if left_s is None else min(left_s, until_due_s)
            ready = self._selector.select(left_s)
            for key, _ in ready:
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not code:
                    self._selector.unregister(sock)
                    return sock
                self._errors.append((key.data, code))
                self._drop(sock)
                if self._waiting:
                    return None  # RFC 8305: a refusal starts the next one at once
            if not ready:
                return None
        return None

    def _left_s(self) -> float | None:
        return None if self._end_s is None else max(0.0, self._end_s - time.monotonic())

    def _drop(self, sock: Any) -> None:
        self._selector.unregister(sock)
        sock.close()

    def _failure(self) -> NoConnectionError:
        silent = [key.data for key in self._selector.get_map().values()]
        codes = [code for _, code in self._errors]
        telling = [code for code in _TELLING if code in codes] or [c for c in codes if c]
        if silent or self._waiting or not telling:
            error: NoConnectionError = NoConnectionInTimeError(
                errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)
            )
        else:
            error = NoConnectionError(telling[0], os.strerror(telling[0]))
        if self._several:
            said = [f"{address}: {os.strerror(code).lower()}" for address, code in self._errors]
            said += [f"{address}: no answer" for address in silent]
            error.tried = tuple(said)
        return error
