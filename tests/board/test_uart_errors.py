"""What a UART has kept from before its driver began is no error of the session.

Each driver is compiled for this computer and meets a model of its registers, as far as errors go.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from once import Once
from spikelet.paths import boards_dir, firmware_dir
from support import need

BASE = 0x1000
FLAGS = ["-DSPK_UART_IRQ=1", "-DSPK_UART_HZ=16000000", "-DSPK_BAUD=115200", "-DSPK_UART_TX=6",
         "-DSPK_UART_RX=8", "-DSPK_UART_LP=0", "-DSPK_LINK_RING=512"]  # fmt: skip
CORE = """
#include <stdint.h>
#define SPK_RAMFUNC
extern uint8_t bank[16];
extern uint32_t (*load)(uint32_t);
extern void (*store)(uint32_t, uint32_t);
static inline uint32_t reg_read(uint32_t at) { return load(at); }
static inline void reg_write(uint32_t at, uint32_t value) { store(at, value); }
static inline void reg_set(uint32_t at, uint32_t mask) { store(at, load(at) | mask); }
static inline void reg_clear(uint32_t at, uint32_t mask) { store(at, load(at) & ~mask); }
static inline void irq_off(void) {}
static inline void irq_on(void) {}
static inline void core_sleep(void) {}
static inline uint32_t spk_core_ticks(void) { return 0; }
"""
MAIN = """
#include "uart.h"
#include "spk_ring.h"
uint8_t bank[16];
uint32_t (*load)(uint32_t);
void (*store)(uint32_t, uint32_t);
struct spk_ring spk_link_ring;
void use(uint32_t (*of_load)(uint32_t), void (*of_store)(uint32_t, uint32_t)) {
    load = of_load;
    store = of_store;
}
uint32_t counted(uint32_t what) {
    const uint32_t counts[] = {spk_uart_line.overruns, spk_uart_line.garbled, spk_uart_line.dropped,
                               spk_uart_line.stuck, spk_ring_used()};
    return counts[what];
}
"""


class Registers:
    """What a driver reads and writes; `errors` are kept until it clears them."""

    OVERRUN = GARBLED = 0  # of `errors`

    def __init__(self) -> None:
        self.errors = 0
        self.fifo: deque[int] = deque()
        self.values: dict[int, int] = {}

    def load(self, at: int) -> int:
        return self.read(at - BASE) & 0xFFFFFFFF

    def store(self, at: int, value: int) -> None:
        self.write(at - BASE, value)

    def read(self, at: int) -> int:
        return self.values.get(at, 0)

    def write(self, at: int, value: int) -> None:
        self.values[at] = value

    def byte(self) -> int:
        return self.fifo.popleft() if self.fifo else 0


class Cmsdk(Registers):
    OVERRUN = 1 << 3

    def read(self, at: int) -> int:
        if at == 4:
            return self.errors | (2 if self.fifo else 0)
        return self.byte() if at == 0 else super().read(at)

    def write(self, at: int, value: int) -> None:
        if at == 4:
            self.errors &= ~value


class Nrf(Registers):
    OVERRUN, GARBLED = 1, 1 << 2

    def read(self, at: int) -> int:
        known = {0x480: self.errors, 0x124: int(self.errors != 0), 0x108: int(bool(self.fifo))}
        return self.byte() if at == 0x518 else known.get(at, 0)

    def write(self, at: int, value: int) -> None:
        if at == 0x480:
            self.errors &= ~value


class Pl011(Registers):
    OVERRUN, GARBLED = 1 << 11, 1 << 8

    def read(self, at: int) -> int:
        if at == 0x18:
            self.errors *= bool(self.fifo)  # an overrun is over where there is room again
            return 0 if self.fifo else 1 << 4
        if at == 0 and self.fifo:  # errors are of the byte that is read
            errors, self.errors = self.errors, 0
            return self.byte() | errors
        return super().read(at)


class Sifive(Registers):
    def read(self, at: int) -> int:
        if at == 4:
            return self.byte() if self.fifo else 1 << 31
        return super().read(at)


class Stm32f1(Registers):
    OVERRUN, GARBLED = 1 << 3, 1 << 1
    seen = 0

    def read(self, at: int) -> int:
        if at == 0:
            self.seen = self.errors
            return self.errors | (1 << 5 if self.fifo else 0)
        if at == 4:
            self.errors &= ~self.seen
            return self.byte()
        return super().read(at)


class Stm32l4(Registers):
    OVERRUN, GARBLED = 1 << 3, 1 << 1

    def read(self, at: int) -> int:
        if at == 0x1C:
            return self.errors | (1 << 5 if self.fifo else 0)
        return self.byte() if at == 0x24 else super().read(at)

    def write(self, at: int, value: int) -> None:
        if at == 0x20:
            self.errors &= ~value
        super().write(at, value)


class Esp32c3(Registers):
    OVERRUN, GARBLED = 1 << 4, 1 << 3

    def read(self, at: int) -> int:
        known = {4: self.errors, 0x1C: len(self.fifo)}
        return self.byte() if at == 0 else known.get(at, super().read(at))

    def write(self, at: int, value: int) -> None:
        if at == 0x10:
            self.errors &= ~value
        elif at == 0x20 and value & 1 << 17:  # RXFIFO_RST
            self.fifo.clear()
        super().write(at, value)


MODELS: dict[str, type[Registers]] = {
    "uart_cmsdk": Cmsdk, "uart_nrf": Nrf, "uart_pl011": Pl011, "uart_sifive": Sifive,
    "uart_stm32f1": Stm32f1, "uart_stm32l4": Stm32l4, "uart_esp32c3": Esp32c3,
}  # fmt: skip
IN_MEMORY = "uart_16550"  # it reads bytes where they lie: a look at its errors clears nothing here


def drivers() -> dict[str, Path]:
    return {path.stem: path for path in boards_dir().glob("*/uart_*.c")}


def compiled(folder: Path) -> dict[str, Path]:
    """A library of each driver."""
    (folder / "core.h").write_text(CORE)
    (folder / "main.c").write_text(MAIN)
    made = {}
    for name in (*MODELS, IN_MEMORY):
        base = "(uintptr_t)bank" if name == IN_MEMORY else BASE
        made[name] = folder / f"{name}.so"
        includes = [f"-I{boards_dir() / 'common'}"]
        includes += [f"-I{firmware_dir() / room}" for room in ("include", "link", "app")]
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O1", "-w", "-DSPK_CORE_H", "-include",
             str(folder / "core.h"), f"-DSPK_UART_BASE={base}", *FLAGS, *includes,
             str(drivers()[name]), str(boards_dir() / "common" / "uart.c"),
             str(folder / "main.c"), "-o", str(made[name])],
            check=True,
        )  # fmt: skip
    return made


def test_each_driver_has_a_model_here() -> None:
    assert drivers().keys() == MODELS.keys() | {IN_MEMORY}


@pytest.mark.parametrize("waiting", [0, 1, 3])
@pytest.mark.parametrize("name", list(MODELS))
def test_errors_of_the_time_before_are_not_counted_later_ones_are(
    name: str, waiting: int, once: Once
) -> None:
    need("gcc")
    library = ctypes.CDLL(str(once("uart-drivers", compiled)[name]))
    registers = MODELS[name]()
    use: list[Callable[..., object]] = [
        ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32)(registers.load),
        ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32)(registers.store),
    ]
    library.use(*use)
    before = [library.counted(what) for what in range(4)]  # of another test, in this process

    def line() -> list[int]:
        return [library.counted(what) for what in range(4)]

    overrun, garbled = registers.OVERRUN, registers.GARBLED
    for errors in (overrun | garbled, overrun, garbled):
        registers.errors = errors
        registers.fifo.extend(range(waiting))
        library.spk_uart_start()
        assert line() == [0, 0, 0, 0], before
        library.spk_uart_receive()
        registers.fifo.append(7)
        library.spk_uart_receive()
        assert line() == [0, 0, 0, 0]
        registers.errors = errors
        registers.fifo.append(8)
        library.spk_uart_receive()
        assert line() == [int(errors & overrun > 0), int(errors & garbled > 0), 0, 0]


def test_a_16550_that_overran_before_it_was_started(once: Once) -> None:
    need("gcc")
    library = ctypes.CDLL(str(once("uart-drivers", compiled)[IN_MEMORY]))
    bank = (ctypes.c_uint8 * 16).in_dll(library, "bank")
    for _ in range(2):
        bank[5] = 1 << 1  # LSR: overrun, nothing to read
        library.spk_uart_start()
        assert library.counted(0) == 0
        library.spk_uart_receive()
        assert library.counted(0) == 1
