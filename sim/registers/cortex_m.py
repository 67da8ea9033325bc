"""A Cortex-M around unicorn, as far as a board's firmware uses one: SysTick, NVIC and reset.

Unicorn executes Thumb and has no exceptions; this stacks and unstacks their frames. Time: a cycle
for every two bytes of code, and none while the core sleeps or polls.
"""

from __future__ import annotations

import ctypes
from typing import Any

from unicorn import arm_const as arm
from unicorn import unicorn_const as uc_const
from unicorn import unicorn_py3

from .bank import LONGEST_WAIT, LOOK_EVERY, Line, ModelError, Uart
from .image import Image
from .watchdogs import NEVER, Iwdg

unicorn: Any = unicorn_py3.unicorn  # its annotations are partial

SCS, PAGE = 0xE000E000, 0x1000
SYST_CSR, SYST_RVR, SYST_CVR = 0x010, 0x014, 0x018
NVIC_ISER, VTOR, AIRCR, CCSIDR = 0x100, 0xD08, 0xD0C, 0xD80
CACHE_16_KB = 127 << 13 | 3 << 3 | 1  # 128 sets, 4 ways, lines of 8 words
SYSRESETREQ = 0x05FA0004
EXCEPTION_EXIT, FRAME_WORDS = 8, 8
EXC_RETURN = 0xFFFFFFF9
FRAME = (
    arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1, arm.UC_ARM_REG_R2, arm.UC_ARM_REG_R3,
    arm.UC_ARM_REG_R12, arm.UC_ARM_REG_LR,
)  # fmt: skip
MODELS = {"m4": arm.UC_CPU_ARM_CORTEX_M4, "m7": arm.UC_CPU_ARM_CORTEX_M7}


class Part:
    """A part's peripherals as its manual has them; sub-classes say which.

    Attributes:
        core: of MODELS.
        irq: number of the UART's interrupt.
        uart: the UART that is the link.
        core_hz: cycles of the core a second, as the clock registers say.
        watchdog: resets the core that does not feed it.
    """

    core: str
    irq: int
    uart: Uart
    core_hz: int
    watchdog: Iwdg

    def __init__(self, machine: CortexM) -> None:
        self.machine = machine

    def pages(self) -> list[int]:
        """Pages of 4 KB that the peripherals' registers lie in."""
        raise NotImplementedError

    def load(self, address: int, size: int) -> int:
        """A read of a register."""
        raise NotImplementedError

    def store(self, address: int, size: int, value: int) -> None:
        """A write of a register."""
        raise NotImplementedError


class CortexM:
    """The core with its memory; the part's peripherals are made anew at each reset.

    Attributes:
        now: cycles since power-on.
        taken: interrupts of the UART.
        resets: since power-on.
        causes: of resets, those that the firmware has not cleared.
    """

    def __init__(
        self,
        image: Image,
        part: type[Part],
        line: Line,
        storage: tuple[int, int] | None = None,
    ) -> None:
        self.image, self.line, self._part = image, line, part
        self.storage_region = storage
        self.storage: dict[str, bytearray] = {}  # what flash keeps over a reset
        self.now = self.taken = self.resets = self.lost = 0
        self.causes = {"power"}
        self._next_look = 0
        self._ram = ctypes.create_string_buffer(image.ram[1])
        self._flash = ctypes.create_string_buffer(image.flash_content(), image.flash[1])
        self._fault: ModelError | None = None
        self._power_on()

    def _power_on(self) -> None:
        self.part = self._part(self)
        self._scs: dict[int, int] = {CCSIDR: CACHE_16_KB}
        self._syst_begin = self._systick_seen = 0
        self._inside = self._reset = False
        uc = unicorn.Uc(uc_const.UC_ARCH_ARM, uc_const.UC_MODE_THUMB | uc_const.UC_MODE_MCLASS)
        uc.ctl_set_cpu_model(MODELS[self.part.core])
        read, write, run = uc_const.UC_PROT_READ, uc_const.UC_PROT_WRITE, uc_const.UC_PROT_EXEC
        flash, size = self.image.flash
        code = (self.storage_region or (flash + size, 0))[0] - flash  # storage is the part's
        uc.mem_map_ptr(flash, code, read | run, self._flash)
        uc.mem_map_ptr(*self.image.ram, read | write | run, self._ram)
        for page in self.part.pages():
            uc.mmio_map(page, PAGE, self._load, page, self._store, page)
        uc.mmio_map(SCS, PAGE, self._scs_load, None, self._scs_store, None)
        uc.hook_add(uc_const.UC_HOOK_BLOCK, self._on_block)
        uc.hook_add(uc_const.UC_HOOK_INTR, self._on_exception)
        self.uc: Any = uc
        stack, entry = (self.word(self.image.flash[0] + 4 * i) for i in range(2))
        uc.reg_write(arm.UC_ARM_REG_SP, stack)
        uc.reg_write(arm.UC_ARM_REG_PC, entry)
        self._entry = entry

    def word(self, address: int) -> int:
        """A word of memory."""
        return int.from_bytes(self.uc.mem_read(address, 4), "little")

    def _guarded(self, call: Any, *arguments: int) -> int:
        try:
            return int(call(*arguments) or 0)
        except ModelError as error:  # which unicorn would swallow
            self._fault = error
            self.uc.emu_stop()
            return 0

    def _load(self, _uc: Any, offset: int, size: int, page: int) -> int:
        return self._guarded(self.part.load, page + offset, size)

    def _store(self, _uc: Any, offset: int, size: int, value: int, page: int) -> None:
        self._guarded(self.part.store, page + offset, size, value)

    def _scs_load(self, _uc: Any, offset: int, _size: int, _user: object) -> int:
        if offset == SYST_CVR:
            period = self._scs.get(SYST_RVR, 0) + 1
            return -(self.now - self._syst_begin) % period
        return self._scs.get(offset, 0)

    def _scs_store(self, _uc: Any, offset: int, _size: int, value: int, _user: object) -> None:
        self._scs[offset] = value
        if offset == SYST_CVR:
            self._syst_begin, self._systick_seen = self.now, 0
        elif offset == AIRCR and value == SYSRESETREQ:
            self._reset_by("software")

    def _reset_by(self, cause: str) -> None:
        self.causes.add(cause)
        self._reset = True
        self.uc.emu_stop()

    def _next_systick(self) -> int:
        """When SysTick's exception is asked for, in cycles."""
        if self._scs.get(SYST_CSR, 0) & 3 != 3:
            return NEVER
        return self._syst_begin + (self._systick_seen + 1) * (self._scs[SYST_RVR] + 1)

    def _pending(self) -> int:
        """Number of the exception that is asked for, 0 for none."""
        if self.now >= self._next_systick():
            return 15
        irq = self.part.irq
        on = self._scs.get(NVIC_ISER + irq // 32 * 4, 0) >> irq % 32 & 1
        return 16 + irq if on and self.part.uart.asks(self.now) else 0

    def _advance(self) -> None:
        if self.now >= self._next_look:
            self._next_look = self.now + LOOK_EVERY
            self._look(0.0)
        uart = self.part.uart
        if self.line.coming or uart.sending:
            uart.advance(self.now, self.part.core_hz)

    def _look(self, wait: float | None) -> None:
        self.part.uart.idle(self.now, self.part.core_hz)
        self.line.look(wait)

    def _on_block(self, uc: Any, address: int, size: int, _user: object) -> None:
        self._advance()
        dog = self.part.watchdog
        if self.now >= dog.due and dog.look():
            self._reset_by("watchdog")
            return
        number = self._pending()
        if number and not self._inside and not uc.reg_read(arm.UC_ARM_REG_PRIMASK) & 1:
            self._enter(number, address)
        else:
            self.now += size // 2

    def _enter(self, number: int, address: int) -> None:
        uc = self.uc
        if number == 15:
            self._systick_seen += 1
        else:
            self.taken += 1
        sp, status = uc.reg_read(arm.UC_ARM_REG_SP), uc.reg_read(arm.UC_ARM_REG_XPSR)
        pad = sp >> 2 & 1
        words = [*map(uc.reg_read, FRAME), address, status | pad << 9]
        sp -= 4 * (FRAME_WORDS + pad)
        uc.mem_write(sp, b"".join((w & 0xFFFF_FFFF).to_bytes(4, "little") for w in words))
        uc.reg_write(arm.UC_ARM_REG_SP, sp)
        uc.reg_write(arm.UC_ARM_REG_LR, EXC_RETURN)
        uc.reg_write(arm.UC_ARM_REG_XPSR, 0x0100_0000 | number)
        self._inside = True
        uc.reg_write(arm.UC_ARM_REG_PC, self.word(self._scs[VTOR] + 4 * number))

    def _on_exception(self, uc: Any, number: int, _user: object) -> None:
        if number != EXCEPTION_EXIT or not self._inside:
            pc = uc.reg_read(arm.UC_ARM_REG_PC)
            self._fault = ModelError(f"the core faults at {pc:#x} (exception {number})")
        self._leaving = True
        uc.emu_stop()

    def _leave(self) -> None:
        uc, sp = self.uc, self.uc.reg_read(arm.UC_ARM_REG_SP)
        words = [self.word(sp + 4 * i) for i in range(FRAME_WORDS)]
        status = words.pop()
        pc = words.pop()
        for register, value in zip(FRAME, words, strict=True):
            uc.reg_write(register, value)
        uc.reg_write(arm.UC_ARM_REG_XPSR, status & ~(1 << 9))
        uc.reg_write(arm.UC_ARM_REG_SP, sp + 4 * (FRAME_WORDS + (status >> 9 & 1)))
        self._inside = False
        self._pc = pc

    def _sleep(self) -> bool:
        """WFI: time passes until an interrupt is asked for. False where the host has gone.

        Without a byte it passes as the host's does.
        """
        while not self._pending():
            uart, hz = self.part.uart, self.part.core_hz
            if self.line.coming:
                self.now = max(self.now, uart.next_byte)
            elif self.line.ended:
                return False
            else:
                left = (self._next_systick() - self.now) / hz
                self.now += int(self.line.wait(min(left, LONGEST_WAIT)) * hz) + 1
                self._look(0.0)
            uart.advance(self.now, hz)
        return True

    def serve(self) -> None:
        """Run until the host closes the link."""
        self._pc = self._entry & ~1
        while True:
            self._leaving = False
            try:
                self.uc.emu_start(self._pc | 1, 0xFFFF_FFFE)
            except unicorn.UcError as error:
                pc = self.uc.reg_read(arm.UC_ARM_REG_PC)
                raise self._fault or ModelError(f"{error} at {pc:#x}") from error
            if self._fault:
                raise self._fault
            if self._reset:
                self.lost += self.part.uart.lost
                self.resets += 1
                self._power_on()
                self._pc = self._entry & ~1
            elif self._leaving:
                self._leave()
            else:
                self._pc = self.uc.reg_read(arm.UC_ARM_REG_PC)
                if not self._sleep():
                    return
