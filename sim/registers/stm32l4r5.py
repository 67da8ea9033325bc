"""STM32L4R5 as the Nucleo uses it (RM0432): LPUART1 on PG7 and PG8, 120 MHz of HSI16."""

from __future__ import annotations

from typing import ClassVar

from .bank import Bank, ModelError, Registers
from .cortex_m import CortexM
from .stm32 import Debug, Flash, Gpio, Resets, Stm32, Storage, Usart, divided
from .watchdogs import Iwdg

HSI, MSI = 16_000_000, 4_000_000
BOOST_FROM = 80_000_000
WAIT_STATES = (20, 40, 60, 80, 100, 120)  # MHz that 0, 1, ... wait states do for in range 1


class Rcc(Resets):
    """Clocks."""

    registers: ClassVar[Registers] = {
        0x00: ("CR", 0x63), 0x04: ("ICSCR", 0x1000_0000), 0x08: ("CFGR", 0),
        0x0C: ("PLLCFGR", 0x1000), 0x48: ("AHB1ENR", 0x100), 0x4C: ("AHB2ENR", 0),
        0x58: ("APB1ENR1", 0x400),
        0x5C: ("APB1ENR2", 0), 0x60: ("APB2ENR", 0), 0x88: ("CCIPR", 0),
        0x94: ("CSR", 0),
    }  # fmt: skip
    told, clear = "CSR", 1 << 23
    flags: ClassVar[dict[str, int]] = {
        "power": 1 << 27, "software": 1 << 28, "watchdog": 1 << 29,  # BORRSTF, SFTRSTF, IWDGRSTF
    }  # fmt: skip

    def read(self, name: str) -> int:
        """What is on is ready; what was chosen is taken."""
        value = super().read(name)
        if name == "CR":
            return value | (value >> 8 & 1) << 10 | (value >> 24 & 1) << 25
        return value | (value & 3) << 2 if name == "CFGR" else value

    def sysclk(self) -> int:
        """Cycles a second."""
        pll = self["PLLCFGR"]
        source = {2: HSI, 1: MSI}.get(pll & 3, 0)
        vco = source // ((pll >> 4 & 15) + 1) * (pll >> 8 & 0x7F)
        on = self["CR"] >> 24 & 1 and pll >> 24 & 1
        chosen = self["CFGR"] & 3
        if chosen == 3 and not (on and 64e6 <= vco <= 344e6):
            raise ModelError("the PLL is chosen that is off, or whose VCO is out of range")
        return {0: MSI, 1: HSI, 3: vco // (2 * ((pll >> 25 & 3) + 1))}.get(chosen, 0)

    def hclk(self) -> int:
        """Of the core."""
        return self.sysclk() // divided(self["CFGR"] >> 4 & 15, 8)

    def pclk1(self) -> int:
        """Of APB1."""
        return self.hclk() // divided(self["CFGR"] >> 8 & 7, 4)


class Power(Bank):
    """Range, boost, and what feeds port G."""

    registers: ClassVar[Registers] = {
        0x00: ("CR1", 0x200), 0x04: ("CR2", 0), 0x08: ("CR3", 0x8000), 0x0C: ("CR4", 0),
        0x10: ("SR1", 0), 0x14: ("SR2", 0), 0x18: ("SCR", 0), 0x80: ("CR5", 0x100),
    }  # fmt: skip


class FlashL4(Flash):
    """Pages of 4 KB, as two banks are set; double words with their error correction."""

    registers: ClassVar[Registers] = {
        0x00: ("ACR", 0x600), 0x08: ("KEYR", 0), 0x10: ("SR", 0), 0x14: ("CR", 0xC000_0000),
        0x18: ("ECCR", 0),
    }  # fmt: skip
    unit, page = 8, 4096
    lock, pg, erase, start = 1 << 31, 1 << 0, 1 << 1, 1 << 16
    BKER = 1 << 11

    def number(self, control: int) -> int:
        """PNB of bank 2; the data cache is off while flash changes (ES0393)."""
        if not control & self.BKER:
            raise ModelError("a page of bank 1, which holds the code, is erased")
        if self["ACR"] & 1 << 10:
            raise ModelError("flash is erased while its data cache is on")
        return (control >> 3 & 0xFF) * self.page


class Stm32L4R5(Stm32):
    """The part on its Nucleo."""

    core, irq, unique_id = "m4", 70, 0x1FFF_7590

    def __init__(self, machine: CortexM) -> None:
        super().__init__(machine)
        self.rcc = Rcc(0x4002_1000, machine.causes)
        self.power = Power("PWR", 0x4000_7000, lambda: bool(self.rcc["APB1ENR1"] & 1 << 28))
        self.flash = FlashL4(0x4002_2000)
        self.port = Gpio("GPIOG", 0x4800_1800, lambda: bool(self.rcc["AHB2ENR"] & 1 << 6))
        self.uart = Usart(
            0x4000_8000, machine.line, lambda: bool(self.rcc["APB1ENR2"] & 1),
            lambda: (machine.now, self.core_hz), 256, 8,
        )  # fmt: skip
        self.uart.kernel_hz = self._kernel_hz
        self.uart.connected = self._connected
        self.uart.skip = self._skip
        self.core_hz = self.rcc.hclk()
        self.watchdog = Iwdg("IWDG", 0x4000_3000, lambda: (machine.now, self.core_hz))
        self.banks = [
            self.rcc, self.power, self.flash, self.port, self.uart, self.watchdog,
            Debug("DBGMCU", 0xE004_2000),
        ]  # fmt: skip
        if machine.storage_region:
            self.store_region = Storage(machine, self.flash, machine.storage_region)

    def store(self, address: int, size: int, value: int) -> None:
        """After each write the clocks are what the manual allows."""
        super().store(address, size, value)
        if self._bank_of_clocks(address):
            hz = self.core_hz = self.rcc.hclk()
            waits = self.flash["ACR"] & 15
            if waits >= len(WAIT_STATES) or hz > WAIT_STATES[waits] * 1_000_000:
                raise ModelError(f"{waits} wait states of flash are too few for {hz} Hz")
            if self.rcc.sysclk() > BOOST_FROM and self.power["CR5"] & 1 << 8:
                raise ModelError("more than 80 MHz without the boost of range 1 (PWR_CR5_R1MODE)")

    def _bank_of_clocks(self, address: int) -> bool:
        return address & -0x400 in (self.rcc.base, self.power.base, self.flash.base)

    def _kernel_hz(self) -> int:
        if self.rcc["CCIPR"] >> 10 & 3:
            raise ModelError("the model knows LPUART1 on PCLK1 only")
        return self.rcc.pclk1()

    def _connected(self) -> bool:
        """AF8 on PG7 and PG8, which VDDIO2 feeds."""
        fed = self.power["CR2"] & 1 << 9
        return bool(fed) and self.port.function(7) == 8 and self.port.function(8) == 8
