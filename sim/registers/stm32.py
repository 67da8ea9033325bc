"""What two STM32 parts have in common: flash, a pin's function, USART and LPUART.

Registers, reset values and rules after ST's reference manuals RM0432 (L4+) and RM0433 (H743). What
a manual forbids stops the model: a peripheral without its clock, too few wait states, a divisor
that is changed while the USART is on, flash that is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from .bank import Bank, Line, ModelError, Registers, Uart
from .cortex_m import PAGE, CortexM, Part

KEYS = (0x4567_0123, 0xCDEF_89AB)
UE, TE, RE, RXFNEIE, FIFOEN = 1 << 0, 1 << 3, 1 << 2, 1 << 5, 1 << 29  # CR1
FE, ORE, RXFNE, TC, TXFNF = 1 << 1, 1 << 3, 1 << 5, 1 << 6, 1 << 7  # ISR


def divided(field: int, above: int) -> int:
    """What a prescaler of HPRE's or PPRE's form divides by; `above`: the first that divides."""
    if field < above:
        return 1
    shift = field - above + 1
    return 1 << (shift if above == 4 or shift < 5 else shift + 1)  # HPRE leaves out 32


class Usart(Uart):
    """USART or LPUART with its FIFOs on."""

    registers: ClassVar[Registers] = {
        0x00: ("CR1", 0), 0x04: ("CR2", 0), 0x08: ("CR3", 0), 0x0C: ("BRR", 0), 0x10: ("GTPR", 0),
        0x14: ("RTOR", 0), 0x18: ("RQR", 0), 0x1C: ("ISR", 0), 0x20: ("ICR", 0),
        0x24: ("RDR", 0), 0x28: ("TDR", 0), 0x2C: ("PRESC", 0),
    }  # fmt: skip

    def __init__(
        self,
        base: int,
        line: Line,
        powered: Callable[[], bool],
        clock: Callable[[], tuple[int, int]],
        parts: int,
        depth: int,
    ) -> None:
        super().__init__("USART", base, line, powered)
        self._clock, self._parts = clock, parts  # (now, Hz of the core and of the kernel clock)
        self.rx_bytes = self.tx_bytes = depth
        self.flags = 0
        self.kernel_hz: Callable[[], int] = lambda: 0
        self.connected: Callable[[], bool] = lambda: False
        self.skip: Callable[[int], None] = lambda until: None

    def rate(self) -> float:
        """256 (LPUART) or 1 times the kernel clock, divided by BRR."""
        on = self["CR1"] & (UE | TE | RE) == UE | TE | RE and self.connected()
        return self._parts * self.kernel_hz() / self["BRR"] if on and self["BRR"] else 0

    def asks(self, now: int) -> bool:
        """RXFNEIE with a byte, or an overrun."""
        return bool(self["CR1"] & RXFNEIE and (self.fifo or self.flags & ORE))

    def overrun(self) -> None:
        """ORE."""
        self.flags |= ORE

    def garbled(self) -> None:
        """FE."""
        self.flags |= FE

    def read(self, name: str) -> int:
        """ISR says what the FIFOs hold; RDR takes a byte."""
        now, core_hz = self._clock()
        self.advance(now, core_hz)
        if name == "RDR":
            return self.fifo.popleft() if self.fifo else 0
        if name != "ISR":
            return super().read(name)
        full = len(self.sending) >= self.tx_bytes
        state = self.flags | (RXFNE if self.fifo else 0) | (0 if full else TXFNF)
        if full:
            self.skip(self.sending[0])  # the firmware polls: no cycle of that is of interest
        return state | (0 if self.sending else TC)

    def write(self, name: str, value: int) -> None:
        """TDR sends; ICR clears; BRR and FIFOEN want the USART off."""
        if name == "TDR":
            self.send(value & 0xFF, *self._clock())
        elif name == "ICR":
            self.flags &= ~value
        elif self["CR1"] & UE and (
            name in ("BRR", "CR2", "CR3", "PRESC")
            or (name == "CR1" and value & UE and (value ^ self["CR1"]) & FIFOEN)
        ):
            raise ModelError(f"{name} of the USART is written while UE is set")
        elif name in ("ISR", "RDR"):
            raise ModelError(f"{name} of the USART is read only")
        else:
            super().write(name, value)


class Gpio(Bank):
    """One port."""

    registers: ClassVar[Registers] = {
        0x00: ("MODER", 0xFFFF_FFFF), 0x04: ("OTYPER", 0), 0x08: ("OSPEEDR", 0),
        0x0C: ("PUPDR", 0), 0x10: ("IDR", 0), 0x14: ("ODR", 0), 0x18: ("BSRR", 0),
        0x20: ("AFRL", 0), 0x24: ("AFRH", 0),
    }  # fmt: skip

    def function(self, pin: int) -> int | None:
        """Number of the alternate function of a pin; None where it has none."""
        if self["MODER"] >> 2 * pin & 3 != 2:
            return None
        return self["AFRH" if pin >= 8 else "AFRL"] >> pin % 8 * 4 & 15


class Flash(Bank):
    """The flash controller's bank 2, and the storage that it erases and writes.

    Attributes:
        unit: bytes that are written at once, with their error correction.
        page: bytes that are erased at once.
    """

    unit = page = 0
    lock = pg = erase = start = 0  # bits of CR
    keys, control = "KEYR", "CR"

    def __init__(self, base: int, powered: Callable[[], bool] | None = None) -> None:
        super().__init__("FLASH", base, powered)
        self[self.control] = self.lock
        self._keys: list[int] = []

    def number(self, control: int) -> int:
        """Offset in bank 2 of the page that CR names."""
        raise NotImplementedError

    def write(self, name: str, value: int) -> None:
        """Keys unlock CR; CR starts an erase."""
        if name == self.keys:
            self._keys = [*self._keys, value][-2:]
            if tuple(self._keys) == KEYS:
                self[self.control] = self[self.control] & ~self.lock
        elif name == self.control:
            if self[name] & self.lock:
                raise ModelError("FLASH_CR is written while it is locked")
            self[name] = value & ~self.start
            if value & self.start:
                if not value & self.erase:
                    raise ModelError("flash is started without an erase")
                self.erase_page(self.number(value))
        elif name == "SR":  # ones clear
            self[name] = self[name] & ~value
        else:
            super().write(name, value)

    def erase_page(self, offset: int) -> None:
        """Set by the part."""
        raise NotImplementedError


class Storage:
    """The end of bank 2, written by stores of 32 bits."""

    def __init__(self, machine: CortexM, flash: Flash, region: tuple[int, int]) -> None:
        self._machine, self._flash = machine, flash
        self.base, self.size = region
        self._bank_2 = machine.image.flash[0] + machine.image.flash[1] // 2
        kept = machine.storage
        self.data = kept.setdefault("data", bytearray(b"\xff" * self.size))
        self.written = kept.setdefault("written", bytearray(self.size))
        flash.erase_page = self._erase  # type: ignore[method-assign]

    def _erase(self, offset: int) -> None:
        at = self._bank_2 + offset - self.base
        if not 0 <= at <= self.size - self._flash.page:
            raise ModelError(f"a page outside storage is erased: {self.base + at:#x}")
        self.data[at : at + self._flash.page] = b"\xff" * self._flash.page
        self.written[at : at + self._flash.page] = bytes(self._flash.page)

    def store(self, at: int, size: int, value: int) -> None:
        """A store into flash."""
        control = self._flash[self._flash.control]
        if control & self._flash.lock or not control & self._flash.pg:
            raise ModelError(f"flash is written at {self.base + at:#x} without PG")
        if size != 4 or any(self.written[at : at + 4]):
            raise ModelError(f"flash is written twice, or not by words, at {self.base + at:#x}")
        self.data[at : at + 4] = value.to_bytes(4, "little")
        self.written[at : at + 4] = b"\1" * 4


class Debug(Bank):
    """DBGMCU: what stands still while a debugger holds the core."""

    registers: ClassVar[Registers] = {
        0x04: ("CR", 0), 0x08: ("APB1FZR1", 0), 0x54: ("APB4FZ1", 0),
    }  # fmt: skip


class Resets(Bank):
    """RCC, as far as it tells the resets that the firmware has not cleared.

    Attributes:
        causes: of them, by the machine's names.
        told: register with the flags.
        flags: bits of it, by cause.
        clear: bit of it that clears all (RMVF).
    """

    told: ClassVar[str]
    flags: ClassVar[dict[str, int]]
    clear: ClassVar[int]

    def __init__(self, base: int, causes: set[str]) -> None:
        super().__init__("RCC", base)
        self.causes = causes

    def read(self, name: str) -> int:
        """The flags, and what the part adds."""
        value = super().read(name)
        return value | sum(self.flags[cause] for cause in self.causes if name == self.told)

    def write(self, name: str, value: int) -> None:
        """RMVF clears the flags, which are read only."""
        if name == self.told:
            if value & self.clear:
                self.causes.clear()
            value &= ~(self.clear | sum(self.flags.values()))
        super().write(name, value)


class Stm32(Part):
    """What both parts share: addresses go to banks."""

    unique_id: int
    banks: Iterable[Bank]
    store_region: Storage | None = None

    def pages(self) -> list[int]:
        """Pages of the banks, of the unique ID and of storage."""
        pages = {bank.base & -PAGE for bank in self.banks} | {self.unique_id & -PAGE}
        if self.store_region:
            at = self.store_region
            pages |= set(range(at.base, at.base + at.size, PAGE))
        return sorted(pages)

    def load(self, address: int, size: int) -> int:
        """Of a bank, of the part's number or of storage."""
        region = self.store_region
        if region and 0 <= address - region.base < region.size:
            at = address - region.base
            return int.from_bytes(region.data[at : at + size], "little")
        if 0 <= address - self.unique_id < 12:
            return 0x5350_4B00 + address - self.unique_id
        bank = self._bank(address)
        return bank.load(address - bank.base)

    def store(self, address: int, size: int, value: int) -> None:
        """Of a bank or of storage."""
        region = self.store_region
        if region and 0 <= address - region.base < region.size:
            region.store(address - region.base, size, value)
            return
        bank = self._bank(address)
        if size != 4:
            raise ModelError(f"{bank.name}: {size} bytes are written at {address:#x}")
        bank.store(address - bank.base, value)

    def _bank(self, address: int) -> Bank:
        at = [bank for bank in self.banks if 0 <= address - bank.base < 0x400]
        if not at:
            raise ModelError(f"there is no register at {address:#x}")
        return max(at, key=lambda bank: bank.base)

    def _skip(self, until: int) -> None:
        self.machine.now = max(self.machine.now, until)
