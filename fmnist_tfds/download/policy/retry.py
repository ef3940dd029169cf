"""The retry rules: attempts per mirror, back-off, Retry-After, when a new round may start.

A round asks every candidate mirror of one file at most once. Pure: clock and random numbers are
handed in.
"""

from __future__ import annotations

import collections
from collections.abc import Callable

from fmnist_tfds.config import settings
from fmnist_tfds.download.transport import request

MOST_S = 30.0
# While no mirror has responded, start no round that could end after this many seconds: a dead
# network fails fast.
DEAD_NETWORK_S = 9.0
# After a round that received new bytes the connection works, it only breaks: go on at once, but
# not in a tight loop.
_AFTER_PROGRESS = 0.1


class Retries:
    """The failed attempts at one file, and what follows from them for its next round.

    Args:
        network: attempts per mirror and the base of the back-off.
    """

    def __init__(self, network: settings.Network) -> None:
        self._network = network
        self._counted: collections.Counter[settings.Mirror] = collections.Counter()
        self._given_up: set[settings.Mirror] = set()
        self._most_bytes = 0
        self._has_grown = False
        self._without_progress = 0
        self._factor = 1.0

    def failed(self, mirror: settings.Mirror, *, part_bytes: int, is_transient: bool) -> None:
        """An attempt failed; one that received more of the file than any before counts as none.

        Args:
            mirror: which mirror.
            part_bytes: how much of the file may be resumed.
            is_transient: another attempt at the same mirror may succeed.
        """
        if part_bytes > self._most_bytes:
            self._most_bytes, self._has_grown = part_bytes, True
        else:
            self._counted[mirror] += 1
        if not is_transient:
            self._given_up.add(mirror)

    def may_ask(self, mirror: settings.Mirror) -> bool:
        """True if `mirror` has attempts left."""
        return mirror not in self._given_up and self._counted[mirror] < self._network.attempts

    def end_round(self) -> None:
        """A round ended without the file."""
        self._without_progress = 1 if self._has_grown else self._without_progress + 1
        self._factor = _AFTER_PROGRESS if self._has_grown else 1.0
        self._has_grown = False

    def delay_s(self, random: Callable[[], float]) -> float:
        """Seconds to wait before the next round."""
        return delay_s(self._network.backoff_s, self._without_progress, random) * self._factor


def is_alive_or_early(*, has_responded: bool, elapsed_s: float, next_round_s: float) -> bool:
    """True unless the network looks dead: see DEAD_NETWORK_S.

    Args:
        has_responded: some mirror responded during this job.
        elapsed_s: since the job began.
        next_round_s: how long the wait and the next round may take.
    """
    return has_responded or elapsed_s + next_round_s < DEAD_NETWORK_S


def delay_s(base_s: float, round_number: int, random: Callable[[], float]) -> float:
    """Seconds before round `round_number` (1 for the first repetition): doubling, with full
    jitter in the upper half, so that many machines do not come back at once."""
    return float(min(base_s * 2 ** (round_number - 1), MOST_S) * (0.5 + 0.5 * random()))


def retry_after_s(value: str, wall_s: float) -> float | None:
    """The seconds that a Retry-After header asks for; None if it is not valid.

    Args:
        value: the header: seconds, or an HTTP date.
        wall_s: the time now, seconds since 1970.
    """
    value = value.strip()
    if value.isdigit():
        return float(value[:20])  # more digits change nothing, and Python converts no thousands
    moment_s = request.moment_s(value)
    return None if moment_s is None else max(0.0, moment_s - wall_s)
