"""What the link can report, each with cause and next step."""

from __future__ import annotations

from spikelet.errors import LinkDead, SpikeletError, UsageError
from spikelet.link.messages import STATUS_TEXTS, Status


class PortError(LinkDead):
    """The port cannot be opened: missing, held by another process, or forbidden."""


class TransportClosed(LinkDead):
    """The other end is gone: the process ended, or the cable was pulled."""


class Unexplained(LinkDead):
    """An error whose cause may be found out after it was raised."""

    def explain(self, cause: str, next: str) -> None:
        """Take a cause that was found out for the one that was supposed."""
        super().__init__(self.what, cause, next)


class LinkTimeout(Unexplained):
    """No answer within the deadline or the allowed tries."""


class DeviceReset(Unexplained):
    """The device was reset while a session was open; its memory is new."""


class LearningLost(LinkDead):
    """The session was interrupted; what it had learned and not committed is undone."""


class RateFailed(LinkDead):
    """The line carries no frames at the rate that was asked for; it is at the old one again."""


class ProtocolError(LinkDead):
    """A frame passed its CRC but says what the protocol does not allow."""


class WrongVersion(LinkDead):
    """The device speaks another protocol than this host."""


class DeviceDiffers(LinkDead):
    """The device claims the package, and is not what the package makes: its facts, its tensor
    table, its answers or its constants are others."""


class DeviceRefused(SpikeletError):
    """The device answered a request with a status other than OK.

    Attributes:
        status: the status byte; a plain int where this host does not know it.
        detail: the number that came with it; the status says what it means.
    """

    exit_code = 2

    def __init__(self, what: str, status: int, detail: int) -> None:
        try:
            self.status: int = Status(status)
            name = Status(status).name
            cause, next_step = STATUS_TEXTS[Status(status)]
        except ValueError:
            self.status, name = status, f"status {status}"
            cause = "the firmware is newer than this host"
            next_step = "update Spikelet on the host"
        self.detail = detail
        super().__init__(f"{what}: the device answered {name}, detail {detail}", cause, next_step)


class ModelMismatch(UsageError):
    """The device holds another model than the one asked for."""


def impossible(port: str, what: str) -> ProtocolError:
    """The error of an answer that no device gives which keeps the protocol."""
    return ProtocolError(
        f"{port}: the device says {what}",
        "firmware that is not Spikelet's or was changed, or a defect of it",
        "build the package for the board and flash it; report it if that does not help",
    )
