"""The whole path of one command: package to C, to an image, to a device, to a session."""

from __future__ import annotations

import hashlib
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from spikelet.board import Board, Firmware, ImageTooLarge, build, held_port, start, too_large
from spikelet.board.build import usable_cache
from spikelet.board.monocypher import monocypher_folder
from spikelet.codegen import ArenaTooSmall, Generated, Safeguards, fit_arena, generate, totals
from spikelet.codegen.safeguards import SIGNED
from spikelet.codegen.signed import nothing_to_sign
from spikelet.errors import UsageError
from spikelet.graph.tile import Tiling
from spikelet.learn.delta import Delta
from spikelet.learn.self_test import self_test
from spikelet.link.device import Device
from spikelet.link.expected import Expected
from spikelet.link.faults import drawn
from spikelet.link.faulty import FaultyTransport
from spikelet.link.transport import Transport, open_transport
from spikelet.package import Package
from spikelet.run.event_data import event_stream, holds_events
from spikelet.run.expected import expected_image, macros_of
from spikelet.run.session import Outcome, Speed, compare, summary
from spikelet.run.session_folder import Recording, SessionFolder
from spikelet.run.watch import Watch
from spikelet.signing import public_bytes
from spikelet.streams import SampleStream, data_stream, package_stream
from spikelet.version import __version__

SYMBOLS = 32  # of the largest, that a session keeps
NO_STORAGE = "no_storage.c"  # source of a board that keeps nothing without power


@dataclass(frozen=True)
class BuiltImage:
    """An image, the C that it was made from, and its macros."""

    generated: Generated
    firmware: Firmware
    defines: tuple[str, ...] = ()

    def __repr__(self) -> str:
        made = self.firmware
        return (
            f"<BuiltImage {made.elf} for {made.board.name}: {made.flash_bytes} bytes of flash, "
            f"{made.ram_bytes} of RAM>"
        )

    def facts(self) -> dict[str, Any]:
        """Sizes, layer table and memory map, for JSON."""
        firmware, plan = self.firmware, self.generated.plan
        return {
            "board": firmware.board.name,
            "toolchain": firmware.toolchain,
            "trace": firmware.trace,
            "elf": str(firmware.elf),
            "image_sha256": hashlib.sha256(firmware.elf.read_bytes()).hexdigest(),
            "flash_bytes": firmware.flash_bytes,
            "ram_bytes": firmware.ram_bytes,
            "weight_bytes": firmware.weight_bytes,
            "code_bytes": firmware.flash_bytes - firmware.weight_bytes,
            "arena_bytes": plan.size,
            "arena_bound_bytes": plan.bound,
            "stack_bound_bytes": firmware.stack.bytes if firmware.stack else None,
            "stack_chain": firmware.stack.all if firmware.stack else [],
            "self_test_bytes": self.generated.self_test_bytes,
            "memory": self._memory(),
            "sections": [asdict(section) for section in firmware.sections],
            "symbols": [
                asdict(symbol) for symbol in sorted(firmware.map, key=lambda s: -s.bytes)[:SYMBOLS]
            ],
            "layers": (rows := [layer.as_dict() for layer in self.generated.layers]),
            "totals": totals(rows),
            "arena": [
                {
                    "tensor": slot.tensor.name,
                    "offset": slot.offset,
                    "bytes": slot.size,
                    "first": slot.first,
                    "last": slot.last,
                }
                for slot in plan.slots.values()
            ],
        }

    def _memory(self) -> dict[str, int] | None:
        memory = self.firmware.board.memory
        if memory is None:
            return None
        return {
            "flash_bytes": memory.flash.bytes,
            "ram_bytes": memory.ram.bytes,
            "stack_reserved_bytes": memory.stack_bytes,
        }


def make(
    package: Package,
    board: Board,
    out: Path,
    *,
    toolchain: str = "auto",
    trace: bool = False,
    sanitize: bool = False,
    tests_itself: bool = True,
    device_key: Path | None = None,
) -> BuiltImage:
    """Generate model.c and build the image in `out`; for errors see `spikelet.board.build`.

    With `tests_itself` the image of a model that learns holds golden samples, on a board that keeps
    what is learned. With a `device_key` the device takes over from outside only what the holder of
    that public key has signed.
    """
    safeguards = _safeguards(package, board, tests_itself, device_key)
    monocypher = monocypher_folder(usable_cache()) if safeguards.key else None
    generated = generate(
        package.graph, package.sha256, out,
        trace=trace, target=board.target, guard=sanitize, safeguards=safeguards,
    )  # fmt: skip
    defines = safeguards.macros
    if package.graph.learns:
        defines = (*defines, "SPK_LEARN")
    if package.graph.has_choices:
        defines = (*defines, "SPK_CHOICES")
    if package.graph.stream is not None:
        defines = (*defines, "SPK_EVENTS")
    if package.graph.exit:
        defines = (*defines, "SPK_EXIT")
    if package.graph.keeps_state:
        defines = (*defines, "SPK_KEEP")
    try:
        _could_fit(board, generated)
        firmware = build(
            out, board, out, toolchain=toolchain, trace=trace, defines=defines, sanitize=sanitize,
            monocypher=monocypher,
        )  # fmt: skip
    except ImageTooLarge as error:
        raise _with_arena(error, package, board, generated) from error
    return BuiltImage(generated, firmware, defines)


def _safeguards(
    package: Package, board: Board, tests_itself: bool, device_key: Path | None
) -> Safeguards:
    if device_key is not None and not package.graph.learns:
        raise nothing_to_sign(package.graph)
    samples = self_test(package) if tests_itself and _keeps(package, board) else None
    return Safeguards(samples, b"" if device_key is None else public_bytes(device_key))


def _keeps(package: Package, board: Board) -> bool:
    """Whether such a device may hold a model that it has learned when it boots."""
    return package.graph.learns and not any(s.endswith(NO_STORAGE) for s in board.sources)


def image_folder(package: Package, board: Board, trace: bool = False) -> Path:
    """Where an image is built that has no other place: one for each kind of image."""
    learning = package.manifest.get("learning") or {}
    words = [package.graph.name, board.name, learning.get("learner"), "trace" if trace else None]
    return Path("spikelet-build") / "-".join(filter(None, words))


def _could_fit(board: Board, generated: Generated) -> None:
    """Refuse at once, not after minutes of compiling, constants that alone fill the flash."""
    if board.memory is None:
        return
    over = generated.const_bytes - board.memory.flash.bytes
    error = too_large(board, {"flash": over}, least=True)
    if error is not None:
        raise error


def _with_arena(
    error: ImageTooLarge, package: Package, board: Board, generated: Generated
) -> ImageTooLarge:
    """The same error with what takes the RAM, and whether bands of rows would help."""
    if "ram" not in error.over or board.memory is None:
        return error
    arena, stack = generated.plan.size, board.memory.stack_bytes
    rest = board.memory.ram.bytes + error.over["ram"] - arena - stack
    what = f"{error.what}; arena {arena}, link and the rest {rest}, stack {stack} bytes of RAM"
    room = arena - error.over["ram"]
    way_out = error.next
    try:
        tiling = fit_arena(package.graph, room, board.target)
    except ArenaTooSmall as none:
        way_out = f"a board with more memory: the least arena that was found is {none.best} bytes"
    else:
        if tiling is not None:
            way_out = f"`--arena {room}`: {bands_text(tiling)}"
    error_ = ImageTooLarge(what, error.cause, way_out)
    error_.over = error.over
    return error_


def bands_text(tiling: Tiling) -> str:
    """What bands are and cost, in words."""
    return (
        f"the first {tiling.layers} layers in {tiling.bands} bands of rows, "
        f"{100 * tiling.more_work:.1f} % more multiply-accumulates"
    )


def with_arena(package: Package, arena: int, board: Board) -> tuple[Package, Tiling | None]:
    """The package, with its first layers in bands of rows where its arena would be larger.

    Raises:
        UsageError: no bands take so little.
    """
    tiling = fit_arena(package.graph, arena, board.target)
    if tiling is None:
        return package, None
    noted = {**package.manifest, "bands": {"layers": tiling.layers, "bands": tiling.bands}}
    return Package(tiling.graph, package.vectors, noted), tiling


def send_delta(device: Device, delta: Delta, package: Package) -> None:
    """Have a device take over the values of a delta; one with a key verifies its signature.

    Raises:
        StateError: it is of another base or has another form; nothing is sent.
        SignatureError: the device has a key, and no signed state lies beside the delta.
        DeviceRefused: the device did not take it: what it had learned is unchanged.
    """
    if device.hello.keyed:
        device.put_signed(delta.signed(package))
    else:
        device.put_learned(delta.wire(package))


@dataclass(frozen=True)
class SessionTarget:
    """What a session runs on.

    Attributes:
        board: its board.
        built: the image, None for hardware that was flashed before.
        machine: name of the board's machine, or auto.
        port: serial port or pyserial URL of hardware, or None.
        baud: bits a second that the port's line changes to, None for the board's.
        reserved: this process holds the port, as a device of a roster.
        delta: what the device is sent first, or None.
        faults: seed of a bad wire in front of it, see `spikelet.link.faults.drawn`; None for none.
        keyed: hardware that was flashed before must have been built with a key.
    """

    board: Board
    built: BuiltImage | None = None
    machine: str = "auto"
    port: str | None = None
    baud: int | None = None
    reserved: bool = False
    delta: Delta | None = None
    faults: int | None = None
    keyed: bool = False

    def expected_image(self, package: Package) -> Expected:
        """What its device must say when it holds the package."""
        if self.built is None:
            macros = macros_of(self.board)
            return expected_image(package, self.board, defines=macros, keyed=self.keyed or None)
        firmware = self.built.firmware
        return expected_image(
            package, self.board, self.built.generated, trace=firmware.trace,
            defines=(*macros_of(self.board, firmware.toolchain), *self.built.defines),
            keyed=SIGNED in self.built.defines,
        )  # fmt: skip

    def speed(self, machine: str) -> Speed:
        """Of the machine that was chosen."""
        spec = self.board.machines.get(machine) if self.port is None else None
        if spec is None:
            return Speed(self.board.mips)
        return Speed(self.board.mips, spec.instructions_per_tick, spec.counts)


@contextmanager
def connect(
    target: SessionTarget, package: Package, on_log: Callable[[str], None] | None = None
) -> Iterator[tuple[Device, str]]:
    """The device, connected and holding this package, and the name of what it is."""
    must = target.expected_image(package)
    if target.port is not None:
        with held_port(None if target.reserved else target.port):
            transport = _behind(open_transport(target.port, target.board.baud), target, on_log)
            with Device(transport, expected=must, baud=target.baud) as device:
                device.on_log = on_log
                _warn(device, on_log)
                yield device, target.port
        return
    if target.built is None:
        raise UsageError(
            f"board {target.board.name} needs a port",
            "it is hardware, not a simulator",
            "give --port; `spikelet boards` lists what needs none",
        )
    with (
        start(target.built.firmware, target.machine, on_log) as machine,
        Device(_behind(machine.transport, target, on_log), 30.0, expected=must) as device,
    ):
        device.on_log = on_log  # what a device says as it boots is no news here
        _warn(device, on_log)
        try:
            yield device, machine.name
        except BaseException:
            if not machine.alive:
                machine.check()  # says why it died, in place of the link that died with it
            raise


def _behind(
    transport: Transport, target: SessionTarget, on_log: Callable[[str], None] | None
) -> Transport:
    """The transport, behind the target's bad wire where it has one."""
    if target.faults is None:
        return transport
    kind, to_device, to_host = drawn(target.faults)
    if on_log is not None:
        on_log(f"--faults {target.faults}, {kind}; to the device: {to_device}; back: {to_host}")
    return FaultyTransport(transport, to_device, to_host, target.faults)


def _warn(device: Device, on_log: Callable[[str], None] | None) -> None:
    warning = device.hello.self_test.warning
    if warning is not None and on_log is not None:
        on_log(f"warning: {warning}")
    elif warning is not None:
        warnings.warn(warning, stacklevel=2)


def choose_stream(
    package: Package,
    data: Path | None,
    limit: int | None,
    bin_us: int | None = None,
    realtime: bool = False,
) -> SampleStream:
    """The user's data, or the package's own.

    Args:
        package: what runs it.
        data: arrays or events; None for the package's own.
        limit: samples at the most.
        bin_us: of events, how long a step is.
        realtime: of events, whether to take longer than they lasted is an error.

    Raises:
        UsageError: data that does not fit, or an option of events without any.
    """
    if data is not None and holds_events(package, data):
        return replace(event_stream(package, data, bin_us), realtime=realtime).head(limit)
    if bin_us is not None or realtime:
        raise UsageError(
            f"{'--realtime' if bin_us is None else f'--bin-us {bin_us}'} without events",
            "--data names arrays of samples, or nothing",
            "give a file of events with --data, or leave the option out",
        )
    stream = data_stream(package, data) if data else package_stream(package)
    return stream.head(limit)


def run(
    package: Package,
    target: SessionTarget,
    stream: SampleStream,
    folder: SessionFolder,
    *,
    layers: bool = False,
    resume: bool = False,
    shown: int | None = None,
    watch: Watch | None = None,
) -> tuple[dict[str, Any], Outcome]:
    """Run a session to its end; the summary is also the folder's session.json.

    With a delta of the target the package has places for it. The device is sent its values first,
    and golden computes with them, too.

    Raises:
        UsageError, LinkDead: outcomes so far are in the folder and `resume` goes on after them. An
            earlier session stays as it is until the first sample is there, and is then moved
            aside, to `folder.moved`.
    """
    watch = watch or Watch()
    facts = target.built.facts() if target.built else {}
    head: dict[str, Any] = {
        "board": target.board.name,
        "model": package.graph.name,
        "package_sha256": package.sha256,
        "steps": package.graph.steps,
        "data": stream.source,
        "data_sha256": stream.sha256,
        "layers": layers,
        "total": len(stream),
        "toolchain": facts.get("toolchain"),
        "image_sha256": facts.get("image_sha256"),
        "build": facts,
        "manifest": package.manifest,
        "versions": versions(),
        "tensors": _tensors(package),
        "names_classes": package.names_classes and stream.targets is None,
        **({} if target.delta is None else {"delta_sha256": target.delta.sha256}),
    }
    with folder.lock(), connect(target, package, watch.log) as (device, machine):
        head["machine"] = machine
        head["unique_id"] = device.hello.unique_id.hex() if target.port is not None else None
        head["port"] = target.port
        speed, model = target.speed(machine), package
        if target.delta is not None:
            send_delta(device, target.delta, package)
            model, stream = target.delta.put(package), replace(stream, golden={})
        recording = Recording(folder, head, resume)
        outcome = compare(
            model, device, stream, recording,
            layers=layers, shown=shown, speed=speed, watch=watch,
        )  # fmt: skip
        result = folder.finish(summary(package, outcome, facts, head))
    return result, outcome


def _tensors(package: Package) -> list[dict[str, Any]]:
    graph = package.graph
    writer = {t.name: node for node in graph.order for t in node.outs}
    return [
        {
            "name": t.name,
            "dtype": t.dtype,
            "shape": list(t.shape),
            "kind": t.kind,
            "layer": writer[t.name].name if t.name in writer else None,
            "op": writer[t.name].KIND if t.name in writer else None,
            "role": writer[t.name].tensor_roles().get(t.name) if t.name in writer else None,
        }
        for t in graph.tensors.values()
    ]


def versions() -> dict[str, str]:
    """What ran here."""
    versions_ = {
        "spikelet": __version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }
    for name in ("numpy", "torch", "snntorch", "scikit-learn", "ziglang", "unicorn"):
        try:
            versions_[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions_
