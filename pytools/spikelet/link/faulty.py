"""A transport with a bad wire in front of it: `--faults SEED`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from spikelet.link.errors import TransportClosed
from spikelet.link.faults import Faults, Lane, Wire
from spikelet.link.transport import LAST_BYTES, Transport, set_rate

SUPPOSED_BAUD = 115200  # of a line that has none, where rates are to differ


class FaultyTransport:
    """A transport whose bytes meet faults in both directions.

    Args:
        inner: the real one; it is closed with this.
        to_device, to_host: the faults.
        seed: of both wires.
        clock: seconds.
    """

    def __init__(
        self,
        inner: Transport,
        to_device: Faults,
        to_host: Faults,
        seed: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.baud = inner.name, inner.baud
        self.last_bytes, self.bytes_in = b"", 0
        self._inner, self._clock = inner, clock
        self._to_device, self._to_host = Lane(Wire(to_device, seed)), Lane(Wire(to_host, seed + 1))
        self._differs = to_device.rate != 1
        if self._differs:
            self.baud = self.baud or SUPPOSED_BAUD
        self._device_baud = (self.baud or 0) * to_device.rate

    @property
    def counts(self) -> dict[str, int]:
        """Faults done so far, both directions together."""
        both = self._to_device.wire.counts + self._to_host.wire.counts
        return {name: count for name, count in sorted(both.items()) if count}

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """See `Transport.read`."""
        deadline = self._clock() + max(0.0, timeout_s)
        while True:
            self._check()
            now = self._clock()
            late = self._to_device.due(now)
            if late:
                self._inner.write(late)
            data = self._to_host.due(now)
            if data:
                self.bytes_in += len(data)
                self.last_bytes = (self.last_bytes + data)[-LAST_BYTES:]
                return data
            until = min(deadline, self._to_device.next_at(), self._to_host.next_at())
            got = self._inner.read(max_bytes, max(0.0, until - now))
            if got:
                self._to_host.push(got, self._clock())
            elif self._clock() >= deadline and until >= deadline:
                return b""

    def write(self, data: bytes) -> None:
        """See `Transport.write`."""
        self._check()
        now = self._clock()
        self._to_device.push(data, now)
        due = self._to_device.due(now)
        if due:
            self._inner.write(due)

    def set_baud(self, baud: int) -> None:
        """See `Paced.set_baud`: of this wire's host, where its rates differ."""
        if not self._differs:
            set_rate(self._inner, baud)
            self.baud = baud
            return
        self.baud = baud
        for lane, rate in (
            (self._to_device, self._device_baud / baud),
            (self._to_host, baud / self._device_baud),
        ):
            lane.wire.faults = replace(lane.wire.faults, rate=rate)

    def close(self) -> None:
        """See `Transport.close`."""
        self._inner.close()

    def _check(self) -> None:
        if self._to_device.wire.cut or self._to_host.wire.cut:
            raise TransportClosed(
                f"{self.name}: closed by the other end (unplugged by --faults)",
                "the simulator's process ended, or the device was unplugged or reset its USB port",
                "look at the process's last output, or plug the device in again, and repeat",
            )
