"""Runs the model of an image in unicorn, without its board, and counts what was executed.

The agent, the link and start-up are not run: start(), step() and finish() of `spk_model` are
called on the inputs of one sample. In a trace build the model calls spk_probe behind each operator;
the call returns at once here, and says whose the blocks before it were.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from elftools.elf.elffile import ELFFile

from spikelet.board import Firmware
from spikelet.errors import UsageError
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.run.cycles.flash import Block, Flash, FlashPort

BACK = 0x7FFF_F000  # where calls return to: nothing is there
PAGE = 0x1000
# Offsets in struct spk_model and spk_tensor on cores with addresses of 32 bits; constants.c, which
# is in every image, asserts them.
_TENSORS, _UNSURE = 8, 36
_TENSOR_NAME, _TENSOR_DATA = 0, 4
SMALL_PAGE = 0x400  # of Arm's cores: memory that is mapped is a multiple of it


@dataclass
class Blocks:
    """What was executed between two probes.

    Attributes:
        count: of each block, how often it was entered.
        taken: how often what followed was not the next instruction.
        entered: how often it was come to by a jump.
        reads: loads from flash; of RV32.
        probes: how often the model said that an operator is done.
        misses: lines of flash that the caches did not hold.
    """

    count: dict[Block, int] = field(default_factory=lambda: defaultdict(int))
    taken: dict[Block, int] = field(default_factory=lambda: defaultdict(int))
    entered: dict[Block, int] = field(default_factory=lambda: defaultdict(int))
    reads: dict[Block, int] = field(default_factory=lambda: defaultdict(int))
    probes: int = 0
    misses: int = 0

    def add(self, other: Blocks) -> None:
        """Join what another one counted."""
        for mine, its in (
            (self.count, other.count), (self.taken, other.taken),
            (self.entered, other.entered), (self.reads, other.reads),
        ):  # fmt: skip
            for block, times in its.items():
                mine[block] += times
        self.misses += other.misses
        self.probes += other.probes


@dataclass(frozen=True)
class Executed:
    """One inference.

    Attributes:
        code: flash, from `base`.
        base: its first address.
        layers: by operator; "" what ran behind the last probe, and all in a release image.
        outputs: bytes of each output tensor.
    """

    code: bytes
    base: int
    layers: dict[str, Blocks]
    outputs: dict[str, bytes]


def execute(
    package: Package, firmware: Firmware, inputs: dict[str, Array], flash: Flash | None = None
) -> Executed:
    """Run one sample.

    Args:
        package: what the image holds.
        firmware: for an emulated board with Armv7E-M or RV32.
        inputs: of one sample, by tensor.
        flash: whose misses are counted, on Arm; None counts none.

    Raises:
        UsageError: the model learns or takes events, or does what cannot be emulated.
    """
    graph = package.graph
    if graph.learns or graph.stream is not None:
        raise UsageError(
            "cycles: the model learns on the device or takes events",
            "one inference of a sample is what is estimated",
            "give the package without its learner; `spikelet bench --board ibex-rtl` measures it",
        )
    runner = _Runner(firmware, [node.name for node in graph.order], flash or Flash())
    names = {t.name: graph.wire(t, inputs[t.name]) for t in graph.inputs}
    outputs = {name: graph.tensors[name].nbytes for name in graph.outputs}
    return runner.run(names, outputs, graph.steps, bool(graph.exit))


class _Runner:
    """A core with the image in its memory."""

    def __init__(self, firmware: Firmware, operators: list[str], flash: Flash) -> None:
        import unicorn

        self._uc, self._flash = unicorn, flash
        board = firmware.board
        if board.memory is None:
            raise UsageError(f"cycles: board {board.name} has no memory map", next="virt-rv32")
        self._memory = board.memory
        self._thumb = board.target.arm
        self._operators = operators
        self._layers: dict[str, Blocks] = {}
        self._now = Blocks()
        self._last: Block = (0, 0)
        self._load(firmware)
        self._port = FlashPort(flash, self._code, self._memory.flash.base)
        self._open()

    def _load(self, firmware: Firmware) -> None:
        base, size = self._memory.flash.base, self._memory.flash.bytes
        code, self._ram = bytearray(size), []
        with firmware.elf.open("rb") as file:
            elf = ELFFile(file)
            for part in elf.iter_segments("PT_LOAD"):
                data = part.data()
                at = part["p_paddr"] - base
                code[at : at + len(data)] = data
                if part["p_vaddr"] != part["p_paddr"]:
                    self._ram.append((part["p_vaddr"], data))
            table: Any = elf.get_section_by_name(".symtab")
            self._symbols = {s.name: s["st_value"] for s in table.iter_symbols()}
            text: Any = elf.get_section_by_name(".text")
            self._text_end = text["sh_addr"] + text["sh_size"]
        self._code = bytes(code)

    def _open(self) -> None:
        unicorn, const = self._uc, self._uc.unicorn_const
        if self._thumb:
            core = unicorn.Uc(const.UC_ARCH_ARM, const.UC_MODE_THUMB | const.UC_MODE_MCLASS)
            core.ctl_set_cpu_model(unicorn.arm_const.UC_CPU_ARM_CORTEX_M4)
            regs = unicorn.arm_const
            self._regs = {
                "pc": regs.UC_ARM_REG_PC, "sp": regs.UC_ARM_REG_SP,
                "ra": regs.UC_ARM_REG_LR, "a0": regs.UC_ARM_REG_R0, "a1": regs.UC_ARM_REG_R1,
            }  # fmt: skip
        else:
            core = unicorn.Uc(const.UC_ARCH_RISCV, const.UC_MODE_RISCV32)
            regs = unicorn.riscv_const
            self._regs = {
                "pc": regs.UC_RISCV_REG_PC, "sp": regs.UC_RISCV_REG_SP,
                "ra": regs.UC_RISCV_REG_RA, "a0": regs.UC_RISCV_REG_A0, "a1": regs.UC_RISCV_REG_A1,
            }  # fmt: skip
            # GCC's linker shortens accesses by it.
            core.reg_write(regs.UC_RISCV_REG_GP, self._symbols["__global_pointer$"])
        core.mem_map(self._memory.flash.base, len(self._code))
        core.mem_map(self._memory.ram.base, -(-self._memory.ram.bytes // PAGE) * PAGE)
        core.mem_map(BACK, PAGE)
        core.mem_write(self._memory.flash.base, self._code)
        for address, data in self._ram:
            core.mem_write(address, data)
        core.hook_add(const.UC_HOOK_BLOCK, self._on_block)
        if (probe := self._symbols.get("spk_probe")) is not None:
            probe &= ~1
            core.hook_add(const.UC_HOOK_CODE, self._on_probe, begin=probe, end=probe)
        if not self._thumb:  # a hook of loads breaks unicorn's IT: what follows one is not skipped
            first = self._memory.flash.base
            end = first + len(self._code) - 1
            core.hook_add(const.UC_HOOK_MEM_READ, self._on_read, begin=first, end=end)
        self._core = core
        if self._flash.wait and self._thumb:
            self._watch_constants()

    def _watch_constants(self) -> None:
        """Loads from flash behind the code are reported: as of a device, since a hook breaks IT."""
        base = self._memory.flash.base
        first = -(-self._text_end // SMALL_PAGE) * SMALL_PAGE - base
        size = len(self._code) - first

        def read(_core: Any, offset: int, size: int, _user: object) -> int:
            at = first + offset
            self._now.misses += self._port.load(base + at, size)
            return int.from_bytes(self._code[at : at + size], "little")

        self._core.mem_unmap(base + first, size)
        self._core.mmio_map(base + first, size, read, None, None, None)

    def _on_block(self, _core: Any, address: int, size: int, _user: object) -> None:
        block, now, last = (address, size), self._now, self._last
        now.count[block] += 1
        if last[0] + last[1] != address:
            now.taken[last] += 1
            now.entered[block] += 1
        self._last = block
        if self._flash.wait:
            now.misses += self._port.enter(block)

    def _on_read(
        self, _core: Any, _kind: int, _address: int, _size: int, _value: int, _user: object
    ) -> None:
        self._now.reads[self._last] += 1

    def _on_probe(self, core: Any, _address: int, _size: int, _user: object) -> None:
        self._now.probes += 1
        self._close(self._operators[core.reg_read(self._regs["a1"])])
        core.reg_write(self._regs["a0"], 0)
        back = core.reg_read(self._regs["ra"])
        self._last = (back & ~1, 0)  # the call is no block of the model's
        core.reg_write(self._regs["pc"], back)

    def _close(self, name: str) -> None:
        self._layers.setdefault(name, Blocks()).add(self._now)
        self._now = Blocks()

    def _word(self, address: int) -> int:
        return int(struct.unpack("<I", self._core.mem_read(address, 4))[0])

    def _call(self, name: str, argument: int = 0) -> None:
        core, regs, function = self._core, self._regs, self._symbols[name]
        core.reg_write(regs["sp"], self._symbols["__stack_top"] & ~7)
        core.reg_write(regs["ra"], BACK | self._thumb)
        core.reg_write(regs["a0"], argument)
        self._last = (function & ~1, 0)
        try:
            core.emu_start(function | self._thumb, BACK)
        except self._uc.unicorn.UcError as error:
            where = core.reg_read(regs["pc"])
            raise UsageError(
                f"cycles: the model stops at {where:#010x}: {error}",
                "it does what a bare core cannot do here: floats in hardware, or devices",
                "measure it: `spikelet bench --board ibex-rtl`",
            ) from None

    def run(
        self, inputs: dict[str, bytes], outputs: dict[str, int], steps: int, exits: bool
    ) -> Executed:
        model = self._symbols["spk_model"]
        places = self._tensors(self._word(model + _TENSORS), [*inputs, *outputs])
        for name, data in inputs.items():
            self._core.mem_write(places[name], bytes(data))
        unsure = self._word(model + _UNSURE) if exits else 0
        self._call("spk_model_start")
        for t in range(steps):
            self._call("spk_model_step", t)
            if unsure and self._core.mem_read(unsure, 1)[0] == 0:
                break
        self._call("spk_model_finish")
        self._close("")
        made = {
            name: bytes(self._core.mem_read(places[name], size)) for name, size in outputs.items()
        }
        return Executed(self._code, self._memory.flash.base, self._layers, made)

    def _tensors(self, table: int, wanted: list[str]) -> dict[str, int]:
        """Where tensors are: rows of the table begin with pointers to a name and to data."""
        places: dict[str, int] = {}
        for at in range(table, table + (1 << 20), 4):
            if len(places) == len(set(wanted)):
                return places
            name = self._text(self._word(at + _TENSOR_NAME))
            if name in wanted and name not in places:
                places[name] = self._word(at + _TENSOR_DATA)
        raise UsageError("cycles: the image has not the package's tensors")

    def _text(self, address: int) -> str:
        at = address - self._memory.flash.base
        if not 0 <= at < len(self._code):
            return ""
        return self._code[at : at + 64].split(b"\0")[0].decode("ascii", "replace")
