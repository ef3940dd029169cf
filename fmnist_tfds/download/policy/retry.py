"""How long to wait before trying again. Pure, but for the random numbers that it is handed."""

from __future__ import annotations

import datetime
import email.utils
from collections.abc import Callable

MOST_S = 30.0


def delay_s(base_s: float, round_number: int, random: Callable[[], float]) -> float:
    """Seconds before round `round_number` (1 for the first repetition): doubling, with full
    jitter in the upper half, so that many machines do not come back at once."""
    return float(min(base_s * 2 ** (round_number - 1), MOST_S) * (0.5 + 0.5 * random()))


def retry_after_s(value: str, wall_s: float) -> float | None:
    """The seconds that a Retry-After header asks for; None if it says nothing intelligible.

    Args:
        value: the header: seconds, or an HTTP date.
        wall_s: the time now, seconds since 1970.
    """
    value = value.strip()
    if value.isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, moment.timestamp() - wall_s)
