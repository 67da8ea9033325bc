"""What a device must say, made from the package; and what no device can say.

Nothing that a device sends is taken for true: facts, tensor table and constants are compared with
what this package makes for this board before a sample is sent.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spikelet.errors import UsageError
from spikelet.link.errors import DeviceDiffers, ModelMismatch, impossible
from spikelet.link.facts import DeviceTensor, Dtype, Kind, SelfTest
from spikelet.link.framing import PAYLOAD_MAX
from spikelet.link.messages import (
    CAPABILITY_EVENTS,
    CAPABILITY_EXIT,
    CAPABILITY_KEYED,
    CAPABILITY_LEARN,
    CAPABILITY_TRACE,
    PROTOCOL,
)
from spikelet.link.replies import Facts

NAME_BYTES = 48  # of a text in HELLO; longer ones are cut
PAYLOAD_MIN = 208  # what HELLO's facts need
RING_MIN, RING_MAX = 256, 32768
WINDOW_MIN, WINDOW_MAX = 8, 64
ARENA_MAX = 1 << 25  # bytes, of a device of which nothing is known
TICK_UNITS = 4
RESET_CAUSES = 4
_CAPABILITIES = (
    CAPABILITY_TRACE | CAPABILITY_LEARN | CAPABILITY_EVENTS | CAPABILITY_EXIT | CAPABILITY_KEYED
)
TICKS_PER_S = 3e10  # no device and no simulator counts faster
_BITS = {Dtype.BIT: 1, Dtype.U8: 8, Dtype.I8: 8, Dtype.I16: 16, Dtype.F16: 16}


@dataclass(frozen=True)
class Expected:
    """What a device says that holds this package, built for this board.

    Attributes:
        package_sha256: of the package, 32 bytes.
        model: its name.
        board: name of the board.
        isa: of the board.
        tick_unit: as in `DeviceInfo`.
        payload: bytes of a frame's payload.
        ring: bytes of the receive ring.
        window: requests whose outcome it remembers.
        kept: replies that it keeps.
        steps: time steps of one inference.
        arena_bytes: of the memory plan.
        learns: whether the model has a learner.
        classes: labels that LEARN takes; 0 where it takes none.
        trace: whether it is a trace build; None where both will do: it was flashed before.
        release: the tensor table of a release build.
        traced: that of a trace build.
        constants: names and bytes of the model's tables, in the image's order.
        ram_bytes: of the board; None where it is not known.
        stream: the input that events fill; None where the model takes none.
        exits: whether a run may end before all steps, where the answer is sure.
        keyed: whether it takes over only signed states; None where both will do.
    """

    package_sha256: bytes
    model: str
    board: str
    isa: str
    tick_unit: int
    payload: int
    ring: int
    window: int
    kept: int
    steps: int
    arena_bytes: int
    learns: bool
    classes: int
    trace: bool | None
    release: tuple[DeviceTensor, ...]
    traced: tuple[DeviceTensor, ...]
    constants: tuple[tuple[str, bytes], ...]
    ram_bytes: int | None = None
    stream: str | None = None
    exits: bool = False
    keyed: bool | None = False

    def tensors(self, trace: bool) -> tuple[DeviceTensor, ...]:
        """The tensor table of such a build."""
        return self.traced if trace else self.release

    def check(self, port: str, facts: Facts) -> None:
        """Compare HELLO's facts.

        Raises:
            ModelMismatch: the device holds another package.
            UsageError: it was flashed before, and is another board.
            DeviceDiffers: it claims this one, and something is not what this one makes.
        """
        sha = facts.package_sha256
        if sha != self.package_sha256:
            raise ModelMismatch(
                f"{port}: the device holds model {facts.model!r}, package "
                f"{sha.hex()[:16]}..., not {self.package_sha256.hex()[:16]}...",
                "the device was flashed with another package",
                "build this package for the board and flash it, or run the package it holds",
            )
        if facts.isa != self.isa:
            what = f"the device's instruction set is {facts.isa}, that of board {self.board} is "
            if self.trace is not None:  # an image of ours
                raise differs(port, f"the instruction set: {facts.isa!r}, not {self.isa!r}")
            raise UsageError(
                f"{port}: {what}{self.isa}",
                "another board is on this port",
                "give the --board that is connected; `spikelet boards` lists them",
            )
        trace = self.trace
        if trace is None:
            trace = bool(facts.capabilities & CAPABILITY_TRACE)
        tables = self.tensors(trace)
        keyed = bool(facts.capabilities & CAPABILITY_KEYED)
        if self.keyed and not keyed and self.trace is None:
            raise UsageError(
                f"{port}: the device has no key, whatever is written to it counts",
                "it was flashed with an image that was built without --device-key",
                "build with --device-key and flash that, or leave the option out",
            )
        keyed = keyed if self.keyed is None else self.keyed
        capabilities = (
            CAPABILITY_TRACE * trace
            + CAPABILITY_LEARN * self.learns
            + CAPABILITY_EVENTS * (self.stream is not None)
            + CAPABILITY_EXIT * self.exits
            + CAPABILITY_KEYED * keyed
        )
        rows: list[tuple[str, object, object]] = [
            ("model", self.model, facts.model),
            ("capabilities", capabilities, facts.capabilities),
            ("tick unit", self.tick_unit, facts.tick_unit),
            ("payload bytes", self.payload, facts.payload),
            ("ring bytes", self.ring, facts.ring),
            ("requests remembered", self.window, facts.window),
            ("replies kept", self.kept, facts.kept),
            ("steps", self.steps, facts.steps),
            ("count of tensors", len(tables), facts.tensor_count),
            ("arena bytes", self.arena_bytes, facts.arena_bytes),
            ("constant bytes", sum(len(data) for _, data in self.constants), facts.constant_bytes),
        ]
        for what, package, device in rows:
            if package != device:
                raise differs(port, f"{what}: {device!r}, the package makes {package!r}")

    def check_names(
        self, port: str, trace: bool, said: Sequence[DeviceTensor]
    ) -> tuple[DeviceTensor, ...]:
        """The package's own table, once the device's rows are found to be the same.

        Raises:
            DeviceDiffers: naming the first row that is not.
        """
        own = self.tensors(trace)
        for package, device in zip(own, said, strict=True):
            for field in ("name", "kind", "dtype", "shape", "bytes", "scale", "zero_point", "op"):
                expected, actual = getattr(package, field), getattr(device, field)
                if field == "name":
                    expected = cut_name(expected)
                if expected != actual:
                    raise differs(
                        port,
                        f"tensor {package.id} ({package.name}), {field}: {actual!r}, the package "
                        f"makes {expected!r}",
                    )
        return own

    def check_constants(self, port: str, crc: Callable[[int, int, int], int]) -> None:
        """Have the device make a CRC of its constants, and compare.

        Args:
            port: for the error.
            crc: `Device.constants_crc`.

        Raises:
            DeviceDiffers: naming the table and the byte.
        """
        memory = b"".join(data for _, data in self.constants)

        def same(first: int, size: int) -> bool:
            seed = int.from_bytes(os.urandom(4), "little")
            around = memory[first : first + size] + memory[: max(0, first + size - len(memory))]
            return crc(seed, first, size) == zlib.crc32(around, seed)

        if not memory or same(int.from_bytes(os.urandom(8), "little") % len(memory), len(memory)):
            return
        low, high = 0, len(memory)  # the first byte that differs lies in [low, high)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if same(low, middle - low) else (low, middle)
        for name, data in self.constants:
            if low < len(data):
                raise differs(port, f"its constants: {name}, at byte {low} of {len(data)}")
            low -= len(data)


def differs(port: str, what: str) -> DeviceDiffers:
    """The error of a device that claims a package and is not what the package makes."""
    return DeviceDiffers(
        f"{port}: the device claims this package and differs from it in {what}",
        "a damaged flash, an image of another version or of other options, or firmware that does "
        "not tell the truth",
        "build this package for the board and flash it again; if it comes back the flash is worn",
    )


def cut_name(name: str) -> str:
    """A name as HELLO carries it."""
    return name.encode()[:NAME_BYTES].decode("utf-8", "replace")


def check_facts(port: str, facts: Facts) -> None:
    """Refuse what no device can say, whatever it holds.

    Raises:
        ProtocolError: naming the field and its bounds.
    """
    ring = facts.ring
    bounds = (
        ("protocol", facts.protocol, PROTOCOL, PROTOCOL),
        ("payload bytes", facts.payload, PAYLOAD_MIN, PAYLOAD_MAX),
        ("ring bytes", ring if ring & (ring - 1) == 0 else 0, RING_MIN, RING_MAX),
        ("requests remembered", facts.window, WINDOW_MIN, WINDOW_MAX),
        ("replies kept", facts.kept, 1, facts.window),
        ("tick unit", facts.tick_unit, 0, TICK_UNITS - 1),
        ("reset cause", facts.reset_cause, 0, RESET_CAUSES - 1),
        ("self-test", facts.self_test, 0, max(SelfTest)),
        ("steps", facts.steps, 1, 0xFFFF),
        ("capabilities", facts.capabilities, 0, _CAPABILITIES),
    )
    for name, value, low, high in bounds:
        if not low <= value <= high:
            raise impossible(port, f"{name} {value}, which is not within {low}..{high}")


def check_table(port: str, tensors: Sequence[DeviceTensor], arena_bytes: int) -> None:
    """Refuse a tensor table that contradicts itself.

    Raises:
        ProtocolError: naming the tensor.
    """
    names: set[str] = set()
    for tensor in tensors:
        elements = math.prod(tensor.shape)
        size = -(-elements * _BITS.get(tensor.dtype, 32) // 8)
        if tensor.dtype is Dtype.BIT:
            size = -(-size // 4) * 4
        apart = tensor.kind in (Kind.DIGESTS, Kind.COUNTS)
        limit = ARENA_MAX if apart else arena_bytes
        if tensor.name in names:
            raise impossible(port, f"two tensors of the name {tensor.name!r}")
        if tensor.bytes != size or size > limit:
            raise impossible(
                port,
                f"tensor {tensor.name!r} of {tensor.bytes} bytes: {tensor.dtype.name.lower()} "
                f"{tensor.shape} takes {size}, its arena has {arena_bytes}",
            )
        if not math.isfinite(tensor.scale):
            raise impossible(port, f"tensor {tensor.name!r} with the scale {tensor.scale}")
        names.add(tensor.name)
