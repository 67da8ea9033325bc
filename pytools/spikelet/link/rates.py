"""The rates of a line: the one that a device boots with, and the one that a host asks for."""

from __future__ import annotations

from spikelet.errors import UsageError
from spikelet.link.errors import RateFailed
from spikelet.link.messages import BAUD_CONFIRM_MS
from spikelet.link.transport import Transport, set_rate

CONFIRM_S = 0.5  # for the first frame at a new rate, at the least
ROUNDS = 4  # of the time that an answer may take


class Rates:
    """The rates of one transport, bits a second.

    Attributes:
        first: when it was opened, which is that of the device's boot; None where it has none.
        wanted: by the host.
        asked: whether this session had the device change its rate.
    """

    def __init__(self, transport: Transport, wanted: int | None) -> None:
        self._transport = transport
        self.first = transport.baud
        self.wanted = wanted or transport.baud
        self.asked = False

    @property
    def changed(self) -> bool:
        """Whether the device is at a rate that this session asked for."""
        return self.asked and self.now != self.first

    @property
    def now(self) -> int | None:
        """Of the transport."""
        return self._transport.baud

    @property
    def can_change(self) -> bool:
        """Whether the transport has a rate to set."""
        return self.now is not None and hasattr(self._transport, "set_baud")

    @property
    def to_try(self) -> tuple[int, ...]:
        """Rates at which the device may be: a session that was broken off leaves it at its own.
        Empty where there is nothing to choose."""
        if self.first is None or not self.can_change:
            return ()
        return tuple(dict.fromkeys((self.first, self.wanted or self.first)))

    def confirm_s(self, answer_s: float | None) -> float:
        """Seconds for the first frame at a new rate, of a device that answers in so many."""
        return min(max(CONFIRM_S, ROUNDS * (answer_s or 0.0)), BAUD_CONFIRM_MS / 1000)

    def set(self, baud: int) -> None:
        """Of the transport.

        Raises:
            UsageError: it has no such rate.
        """
        if baud == self.now:
            return
        try:
            set_rate(self._transport, baud)
        except OSError as error:
            raise UsageError(
                f"{self._transport.name}: {error}",
                f"this computer's port has no rate of {baud} baud",
                "ask for another --baud",
            ) from error


def no_rate(port: str, baud: int | None) -> UsageError:
    """The transport has none."""
    return UsageError(
        f"{port}: {baud} baud were asked for, and this line has no rate",
        "a socket, a pipe or a simulator",
        "leave out --baud",
    )


def refused_rate(port: str, baud: int, nearest: int) -> UsageError:
    """The device cannot have it."""
    if nearest == 0:
        return UsageError(
            f"{port}: the device cannot change to {baud} baud",
            "its UART cannot have a rate near it, or its board has no call that sets one",
            "ask for another --baud, or leave it out",
        )
    return UsageError(
        f"{port}: the device cannot have {baud} baud: the nearest rate of its clock is {nearest}",
        "its UART's divisor would be more than 2 % off, which loses bits",
        f"use --baud {nearest}, or a lower rate",
    )


def failed_rate(port: str, baud: int, old: int) -> RateFailed:
    """No frame passed at it."""
    return RateFailed(
        f"{port}: device and port went to {baud} baud, where no frame passed; both are at {old} "
        "again",
        "a serial adapter, cable or level shifter that is too slow for this rate",
        f"use a lower --baud, or leave it out for {old}",
    )
