"""STM32H743 as the Nucleo uses it (RM0433): USART3 on PD8 and PD9, 400 MHz of 8 from outside."""

from __future__ import annotations

from typing import ClassVar

from .bank import Bank, ModelError, Registers
from .cortex_m import CortexM
from .stm32 import Debug, Flash, Gpio, Resets, Stm32, Storage, Usart, divided
from .watchdogs import Iwdg

HSI, CSI, HSE = 64_000_000, 4_000_000, 8_000_000
# At VOS1: MHz of the bus that LATENCY and WRHIGHFREQ do for.
WAIT_STATES = {(0, 0): 70, (1, 1): 140, (2, 1): 185, (2, 2): 210, (3, 2): 225}


class Rcc(Resets):
    """Clocks."""

    registers: ClassVar[Registers] = {
        0x00: ("CR", 0x83), 0x10: ("CFGR", 0), 0x18: ("D1CFGR", 0), 0x1C: ("D2CFGR", 0),
        0x20: ("D3CFGR", 0), 0x28: ("PLLCKSELR", 0x0202_0200), 0x2C: ("PLLCFGR", 0x01FF_0000),
        0x30: ("PLL1DIVR", 0x0101_0280), 0x34: ("PLL1FRACR", 0), 0x54: ("D2CCIP2R", 0),
        0xD0: ("RSR", 0), 0xE0: ("AHB4ENR", 0), 0xE8: ("APB1LENR", 0),
    }  # fmt: skip
    told, clear = "RSR", 1 << 16
    flags: ClassVar[dict[str, int]] = {
        "power": 1 << 23, "software": 1 << 24, "watchdog": 1 << 26,  # PORRSTF, SFTRSTF, IWDG1RSTF
    }  # fmt: skip

    def read(self, name: str) -> int:
        """What is on is ready; what was chosen is taken."""
        value = super().read(name)
        if name == "CR":
            ready = (value & 1) << 2 | (value >> 16 & 1) << 17 | (value >> 24 & 1) << 25
            return value | ready
        return value | (value & 7) << 3 if name == "CFGR" else value

    def pll1_p(self) -> int:
        """Output P of PLL1."""
        select, dividers = self["PLLCKSELR"], self["PLL1DIVR"]
        source = {0: HSI, 1: CSI, 2: HSE}.get(select & 3, 0)
        if select & 3 == 2 and self["CR"] & 5 << 16 != 5 << 16:
            raise ModelError("the PLL takes a clock from outside without HSEON and HSEBYP")
        reference = source // max(select >> 4 & 63, 1)
        if not 8e6 <= reference <= 16e6 or self["PLLCFGR"] >> 2 & 3 != 3:
            raise ModelError(f"PLL1RGE does not fit {reference} Hz")
        vco = reference * ((dividers & 0x1FF) + 1)
        if not self["CR"] & 1 << 24 or self["PLLCFGR"] & 2 or not 192e6 <= vco <= 836e6:
            raise ModelError("PLL1 is off, or its VCO is out of range")
        return vco // ((dividers >> 9 & 0x7F) + 1)

    def sysclk(self) -> int:
        """Cycles a second of the core, D1CPRE included."""
        chosen = self["CFGR"] & 7
        hz = self.pll1_p() if chosen == 3 else {0: HSI, 1: CSI, 2: HSE}.get(chosen, 0)
        return hz // divided(self["D1CFGR"] >> 8 & 15, 8)

    def hclk(self) -> int:
        """Of AXI, flash and AHB."""
        return self.sysclk() // divided(self["D1CFGR"] & 15, 8)

    def pclk1(self) -> int:
        """Of APB1."""
        return self.hclk() // divided(self["D2CFGR"] >> 4 & 7, 4)


class Power(Bank):
    """Voltage scaling."""

    registers: ClassVar[Registers] = {
        0x00: ("CR1", 0xF000_C000), 0x04: ("CSR1", 0x4000), 0x08: ("CR2", 0), 0x0C: ("CR3", 6),
        0x10: ("CPUCR", 0), 0x18: ("D3CR", 0x4000),
    }  # fmt: skip
    VOS1 = 3

    def read(self, name: str) -> int:
        """A voltage is there at once."""
        value = super().read(name)
        return value | (1 << 13 if name in ("CSR1", "D3CR") else 0)

    def vos(self) -> int:
        """3 is VOS1; it is taken once CR3 has said how the part is fed."""
        return self["D3CR"] >> 14 & 3 if self["CR3"] == 2 else 1


class FlashH7(Flash):
    """Bank 2: sectors of 128 KB, flash words of 32 bytes."""

    registers: ClassVar[Registers] = {
        0x000: ("ACR", 0x37), 0x104: ("KEYR2", 0), 0x10C: ("CR2", 0x31), 0x110: ("SR2", 0),
        0x114: ("CCR2", 0),
    }  # fmt: skip
    unit, page = 32, 0x20000
    lock, pg, erase, start = 1 << 0, 1 << 1, 1 << 2, 1 << 7
    keys, control = "KEYR2", "CR2"

    def number(self, control: int) -> int:
        """SNB."""
        return (control >> 8 & 7) * self.page


class Stm32H743(Stm32):
    """The part on its Nucleo."""

    core, irq, unique_id = "m7", 39, 0x1FF1_E800

    def __init__(self, machine: CortexM) -> None:
        super().__init__(machine)
        self.rcc = Rcc(0x5802_4400, machine.causes)
        self.power = Power("PWR", 0x5802_4800)
        self.flash = FlashH7(0x5200_2000)
        self.port = Gpio("GPIOD", 0x5802_0C00, lambda: bool(self.rcc["AHB4ENR"] & 1 << 3))
        self.uart = Usart(
            0x4000_4800, machine.line, lambda: bool(self.rcc["APB1LENR"] & 1 << 18),
            lambda: (machine.now, self.core_hz), 1, 16,
        )  # fmt: skip
        self.uart.kernel_hz = self._kernel_hz
        self.uart.connected = lambda: self.port.function(8) == 7 and self.port.function(9) == 7
        self.uart.skip = self._skip
        self.core_hz = self.rcc.sysclk()
        self.watchdog = Iwdg("IWDG1", 0x5800_4800, lambda: (machine.now, self.core_hz))
        self.banks = [
            self.rcc, self.power, self.flash, self.port, self.uart, self.watchdog,
            Debug("DBGMCU", 0x5C00_1000),
        ]  # fmt: skip
        if machine.storage_region:
            self.store_region = Storage(machine, self.flash, machine.storage_region)

    def store(self, address: int, size: int, value: int) -> None:
        """After each write the clocks are what the manual allows."""
        super().store(address, size, value)
        if address & -0x400 in (self.rcc.base, self.power.base, self.flash.base):
            core, bus = self.rcc.sysclk(), self.rcc.hclk()
            self.core_hz = core
            waits, high = self.flash["ACR"] & 15, self.flash["ACR"] >> 4 & 3
            if core > 200e6 and self.power.vos() != Power.VOS1:
                raise ModelError(f"{core} Hz without VOS1")
            if core > 400e6 or bus > 200e6 or self.rcc.pclk1() > 100e6:
                raise ModelError(f"{core} Hz of the core, {bus} Hz of its buses: too fast")
            if waits < 5 and bus > WAIT_STATES.get((waits, high), 0) * 1e6:
                raise ModelError(f"{waits} wait states of flash are too few for {bus} Hz")

    def _kernel_hz(self) -> int:
        if self.rcc["D2CCIP2R"] & 7:
            raise ModelError("the model knows USART3 on PCLK1 only")
        return self.rcc.pclk1()
