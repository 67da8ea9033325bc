"""Why a line does not carry frames: which of its settings is wrong.

What a setting does to a frame can be undone, and a frame that then passes its CRC is proof. The
way to the device is tried with requests that hold the bytes in question and no other such: HELLO
for protocols that do not exist, which a device refuses and forgets.
"""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from spikelet.link.framing import Deframer, Frame, decode, encode
from spikelet.link.messages import HelloRequest, Type
from spikelet.link.replies import LineReply
from spikelet.link.transport import Transport, set_rate

BAUDS = (9600, 19200, 38400, 57600, 115200, 230400, 460800, 500_000, 921_600, 1_000_000, 2_000_000)
FLOW = b"\x11\x13"
WAIT_S = 0.75  # for an answer of a device that has given none yet
LEAST_BYTES = 24  # of which none has bit 7 set, before that is no chance
PROOF = 2  # frames that are good once the setting is undone: a byte may be lost otherwise, too
TRIES = 5  # of a line that loses much
MOST_PLACES = 8  # of line ends in a frame whose changes are tried together
NO_PROTOCOL = 0xFF

RESET_REQUEST, RESET_FAULT, RESET_WATCHDOG = 1, 2, 3  # of spk_board.h
Finding = tuple[str, str]  # cause, next step

SEVEN_BITS = (
    "the line {way} carries 7 bits a byte",
    "set the port to 8 data bits without parity: stty -F PORT cs8 -parenb -istrip",
)
SOFT_FLOW = (
    "XON/XOFF flow control takes the bytes 0x11 and 0x13 out of the line {way}",
    "switch software flow control off: stty -F PORT -ixon -ixoff, or at the serial server",
)
LINE_ENDS = (
    "CR and LF are translated on the line {way}",
    "make the line raw: stty -F PORT raw, or at the serial server",
)
TO_HOST, TO_DEVICE = "from the device", "to the device"


def received_through(pieces: Iterable[bytes]) -> Finding | None:
    """What the pieces that were no frames say of the line from the device.

    Args:
        pieces: what stood between two delimiters each.
    """
    pieces = [piece for piece in pieces if piece]
    together = b"".join(pieces)
    if len(together) >= LEAST_BYTES and max(together) < 0x80:
        return _named(SEVEN_BITS, TO_HOST)
    counts = Counter(pieces)  # what is asked for again is often answered alike
    for finding, before in ((SOFT_FLOW, _with_flow), (LINE_ENDS, _line_ends)):
        mended = 0
        for piece, count in counts.items():
            mended += count * any(map(decode, before(piece)))
            if mended >= PROOF:
                return _named(finding, TO_HOST)
    return None


def _named(finding: Finding, way: str) -> Finding:
    return finding[0].format(way=way), finding[1]


def _without_loss(piece: bytes, lost: bytes) -> Iterator[bytes]:
    """The piece with one of the bytes put in, at each place."""
    for at, byte in itertools.product(range(len(piece) + 1), lost):
        yield piece[:at] + bytes((byte,)) + piece[at:]


def _with_flow(piece: bytes) -> Iterator[bytes]:
    return _without_loss(piece, FLOW)


def _line_ends(piece: bytes) -> Iterator[bytes]:
    """The piece as it may have been before line ends were translated."""
    if b"\r\n" in piece:
        yield piece.replace(b"\r\n", b"\n")
    yield from _without_loss(piece, b"\r\n")
    for now, before in ((0x0A, 0x0D), (0x0D, 0x0A)):
        places = [i for i, byte in enumerate(piece) if byte == now][:MOST_PLACES]
        for count in range(1, len(places) + 1):
            for some in itertools.combinations(places, count):
                other = bytearray(piece)
                for at in some:
                    other[at] = before
                yield bytes(other)


@functools.cache
def probe(holds: bytes = b"", high: bool = False) -> bytes:
    """A request, as it goes over the wire, that a device refuses and forgets.

    Args:
        holds: bytes that it must hold; of those that lines swallow or translate no others.
        high: whether some bytes have bit 7 set; otherwise none has.
    """
    rng = random.Random(0)
    special = set(FLOW + b"\r\n") - set(holds)
    while True:
        nonce, seq = rng.getrandbits(31), rng.randrange(128)
        if holds:
            nonce = int.from_bytes((holds * 4)[:4], "little")
            seq = holds[0]  # which the answer holds, too
        low, most = (1, 1) if not high else (NO_PROTOCOL, NO_PROTOCOL)
        request = HelloRequest(nonce, low, most, rng.randrange(0x7F7F))
        wire = encode(Frame(Type.HELLO, seq, 0, 0, request.pack()))
        if special & set(wire) or (max(wire) >= 0x80) != high:
            continue
        return wire


def line_finding(line: LineReply) -> Finding | None:
    """What the device's own counts of its line say; None where they are 0."""
    if line.overruns:
        return (
            f"the device's receiver was full {line.overruns} times before its interrupt was taken: "
            "bytes come faster than its core reads them",
            "use a lower --baud",
        )
    if line.garbled:
        return (
            f"{line.garbled} bytes came to the device without a stop bit or with wrong parity: "
            "rates that differ, or noise",
            "use a lower --baud or a shorter cable; check that ground is connected",
        )
    if line.dropped:
        return (
            f"the device's ring had no room for {line.dropped} bytes",
            "another program writes to the port: close it",
        )
    if line.stuck:
        return (
            f"the device's transmitter was stuck {line.stuck} times: nothing took its bytes",
            "switch hardware flow control off",
        )
    return None


def reset_finding(cause: int, fault: int, pc: int, address: int) -> Finding | None:
    """Why a device was reset, as it says itself.

    Args:
        cause: `DeviceInfo.reset_cause`.
        fault, pc, address: of its last fault.
    """
    again = "run again from the last finished sample"
    if cause == RESET_FAULT:
        return (
            f"a fault of the firmware: cause 0x{fault:x} at pc 0x{pc:08x}, address 0x{address:08x}",
            f"find the line: addr2line -e ELF 0x{pc:x}; report it together with the package",
        )
    if cause == RESET_WATCHDOG:
        at = f"; the core was at pc 0x{pc:08x}" if pc else ""
        where = (
            f"find the line with addr2line -e ELF 0x{pc:x}"
            if pc
            else "this board cannot tell where; run the sample with --layers"
        )
        return (
            f"its watchdog: a request took longer than the watchdog's period{at}",
            f"a kernel that does not end: {where}; of a model that takes so long, set "
            "SPK_WATCHDOG_MS in the board's file",
        )
    if cause == RESET_REQUEST:
        return "another program asked the device to", f"close it, then {again}"
    return "its supply failed, or somebody pressed its reset button", again


class LineTest:
    """Finds out what is wrong with a line on which requests stay without answers.

    Args:
        transport: the line.
        pieces: what was received on it before, and was no frame.
        wait_s: for an answer, at the most.
        clock: seconds.
    """

    def __init__(
        self,
        transport: Transport,
        pieces: Iterable[bytes] = (),
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport, self._clock = transport, clock
        self._before = list(pieces)
        self._deframer = Deframer()
        self._wait_s = wait_s
        self.answered = False  # whether a good frame came back

    def finding(self, scan: bool) -> Finding | None:
        """Cause and next step; None where no setting of the line is to blame.

        Args:
            scan: whether other rates may be tried, too.

        Raises:
            LinkDead: the line broke off meanwhile.
        """
        answers = self._answers(probe(), 2)
        found = received_through([*self._before, *self._deframer.pieces])
        if found is not None or (scan and not answers):
            return found or self._at_another_rate()
        if not answers:
            return None
        if scan and not self._deframer.good and (found := self._at_another_rate()):
            return found
        tries = (
            (SEVEN_BITS, probe(high=True)),
            (SOFT_FLOW, probe(FLOW)),
            (LINE_ENDS, probe(b"\r")),
            (LINE_ENDS, probe(b"\n")),
        )
        for finding, request in tries:
            if not self._answers(request, TRIES):
                passes = sum(self._asked(probe()) for _ in range(TRIES))
                return _named(finding, TO_DEVICE) if passes >= TRIES - 1 else None
            self._asked(request)  # the answer to it tells of the way back
        return received_through(self._deframer.pieces)

    def _answers(self, request: bytes, tries: int) -> bool:
        """Whether anything comes back, in so many tries."""
        return any(self._asked(request) for _ in range(tries))

    def _asked(self, request: bytes) -> bool:
        self._transport.write(request)
        asked = self._clock()
        until, data = asked + self._wait_s, b""
        while (now := self._clock()) < until:
            got = self._transport.read(4096, until - now)
            if got and not data:
                wait_s = 4 * (self._clock() - asked) + 0.05
                self._wait_s = min(self._wait_s, wait_s)
                until = min(until, self._clock() + wait_s / 2)
            data += got
            self.answered |= bool(self._deframer.feed(got))
        return bool(data)

    def reset(self, boot_baud: int | None) -> Finding | None:
        """Whether the device has left a rate that it was asked for, as a reset makes it do."""
        now = self._transport.baud
        if boot_baud is None or not self._good_at((boot_baud,)):
            return None
        return (
            f"the device was reset: it answers at {boot_baud} baud, the rate that it boots with, "
            f"not at {now}",
            "read its last fault after reconnecting, then run again from the last finished sample",
        )

    def _at_another_rate(self) -> Finding | None:
        """The rate at which a device answers; the port then has its own again."""
        own = self._transport.baud
        found = self._good_at(BAUDS)
        if found is None:
            return None
        return (
            f"the line has another rate: the device answers at {found} baud, not at {own}",
            f"use --baud {found}",
        )

    def _good_at(self, bauds: Iterable[int]) -> int | None:
        """The first of these rates at which a good frame comes back, and that is not the line's."""
        own = self._transport.baud
        if own is None or not hasattr(self._transport, "set_baud"):
            return None
        try:
            for baud in bauds:
                set_rate(self._transport, baud)
                good = self._deframer.good
                self._wait_s = min(self._wait_s, WAIT_S / 2)
                if baud != own and self._asked(probe()) and self._deframer.good > good:
                    return baud
        except OSError:
            return None  # a port that has no such rate
        finally:
            set_rate(self._transport, own)
        return None
