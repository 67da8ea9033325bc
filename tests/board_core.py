"""A core that calls functions of a board's image; its devices are models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from unicorn import UC_ARCH_ARM, UC_ARCH_RISCV, UC_MODE_MCLASS, UC_MODE_RISCV32, UC_MODE_THUMB
from unicorn import arm_const as arm
from unicorn import riscv_const as rv
from unicorn.unicorn_py3 import unicorn

from spikelet.board import Board

Load = Callable[[int, int], int]
Store = Callable[[int, int, int], None]


class Core:
    """A core that calls functions of an image; a fault of a model ends the call."""

    def __init__(self, board: Board, elf: Path) -> None:
        assert board.memory is not None and board.memory.storage is not None
        self.memory, self.storage = board.memory, board.memory.storage
        self.arm = board.target.arm
        mode = UC_MODE_THUMB | UC_MODE_MCLASS if self.arm else UC_MODE_RISCV32
        uc = unicorn.Uc(UC_ARCH_ARM if self.arm else UC_ARCH_RISCV, mode)
        if self.arm:
            uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M33)
        uc.mem_map(board.memory.flash.base, board.memory.flash.bytes)
        uc.mem_map(board.memory.ram.base, board.memory.ram.bytes)
        with elf.open("rb") as file:
            image = ELFFile(file)
            for segment in image.iter_segments("PT_LOAD"):
                uc.mem_write(segment["p_vaddr"], segment.data())
            symbols: Any = image.get_section_by_name(".symtab")
            self.symbols = {s.name: s["st_value"] for s in symbols.iter_symbols()}
        self.uc: Any = uc
        self.fault: BaseException | None = None
        self.pc = arm.UC_ARM_REG_PC if self.arm else rv.UC_RISCV_REG_PC
        registers = arm if self.arm else rv
        prefix = "UC_ARM_REG_R" if self.arm else "UC_RISCV_REG_A"
        self.arguments = [getattr(registers, f"{prefix}{i}") for i in range(4)]

    def device(self, base: int, size: int, load: Load, store: Store) -> None:
        """Addresses that a model answers."""

        def loaded(_uc: Any, offset: int, bytes_: int, _user: object) -> int:
            return int(self._guarded(load, base + offset, bytes_) or 0)

        def stored(_uc: Any, offset: int, bytes_: int, value: int, _user: object) -> None:
            self._guarded(store, base + offset, bytes_, value)

        self.uc.mmio_map(base, size, loaded, None, stored, None)

    def _guarded(self, call: Callable[..., Any], *arguments: int) -> Any:
        try:
            return call(*arguments)
        except Exception as error:  # which unicorn would swallow
            self.fault = error
            self.uc.emu_stop()
            return 0

    def in_ram(self) -> bool:
        """Whether the core executes from RAM."""
        return self.memory.ram.holds(self.uc.reg_read(self.pc))

    def call(self, name: str, *arguments: int) -> int:
        end = self.memory.flash.base + self.memory.flash.bytes - 16
        uc, stack = self.uc, self.symbols["__stack_top"]
        for register, value in zip(self.arguments, arguments, strict=False):
            uc.reg_write(register, value)
        if self.arm:
            uc.reg_write(arm.UC_ARM_REG_SP, stack)
            uc.reg_write(arm.UC_ARM_REG_LR, end | 1)
        else:
            uc.reg_write(rv.UC_RISCV_REG_SP, stack)
            uc.reg_write(rv.UC_RISCV_REG_GP, self.symbols["__global_pointer$"])
            uc.reg_write(rv.UC_RISCV_REG_RA, end)
        uc.emu_start(self.symbols[name], end)
        if self.fault:
            raise self.fault
        return int(uc.reg_read(self.arguments[0]))

    def read(self, offset: int, size: int) -> bytes:
        to = self.memory.ram.base + self.memory.ram.bytes - 1024
        assert self.call("spk_board_storage_read", offset, to, size) == 0
        return bytes(self.uc.mem_read(to, size))

    def write(self, offset: int, data: bytes) -> None:
        at = self.memory.ram.base + self.memory.ram.bytes - 1024
        self.uc.mem_write(at, data)
        assert self.call("spk_board_storage_write", offset, at, len(data)) == 0

    def erase(self, offset: int) -> None:
        assert self.call("spk_board_storage_erase", offset) == 0
