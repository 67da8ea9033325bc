"""The emulated machine: one image on unicorn's RV32 core, link bytes on standard input and output.

    python rv32_unicorn.py IMAGE.elf [--flash BASE:BYTES] [--ram BASE:BYTES] [--stats]
                           [--paced FIFO:BAUD:MIPS]

It stands in for QEMU's `virt` where QEMU is not installed: 16550 at 0x10000000, test finisher at
0x100000 (a reset keeps RAM), traps taken through mtvec. minstret counts retired instructions, which
unicorn itself does not offer: every `csrr rd, minstret` of the image becomes, in the loaded copy, a
load of the same length from a counter that a hook on each block keeps (measured: equal to QEMU's
-icount to the instruction). An idle device sleeps in
read(2).

With `--paced` the serial port is one of silicon: a core of so many millions of instructions a
second, a receiver that holds FIFO bytes and interrupts at half of them or after four bytes'
silence, and a line on which a byte comes at its time whether or not there is room for it. A write
of N to 0x100008 stands still for N microseconds, as a core does that waits for its flash. `--stats`
then says how many bytes were lost, and what the firmware counted itself.

The end of standard input ends the process. Exit: 0 good, 2 bad usage, 3 a machine that
cannot go on, with the reason on standard error.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib.util
import os
import platform
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from unicorn import riscv_const as rv
from unicorn import unicorn_const, unicorn_py3

unicorn: Any = unicorn_py3.unicorn  # its annotations are partial

UART = 0x1000_0000
FINISHER = 0x0010_0000
FINISHER_RESET = 0x7777
FINISHER_FAIL = 0x3333
PLIC_PAGES = (0x0C00_0000, 0x0C00_2000, 0x0C20_0000)
COUNTER_PAGE = 0xFFFF_F000  # reachable by a load with a negative offset from x0
COUNTER_OFFSET = 0xF00
PAGE = 4096
STOP_POLL, STOP_FINISHER = 1, 3

# What a trap handler finds in mcause, by unicorn's error (RISC-V privileged specification, 3.1.15).
CAUSES = {
    unicorn_const.UC_ERR_FETCH_UNMAPPED: 1,
    unicorn_const.UC_ERR_FETCH_PROT: 1,
    unicorn_const.UC_ERR_INSN_INVALID: 3,
    unicorn_const.UC_ERR_READ_UNALIGNED: 4,
    unicorn_const.UC_ERR_READ_UNMAPPED: 5,
    unicorn_const.UC_ERR_READ_PROT: 5,
    unicorn_const.UC_ERR_WRITE_UNALIGNED: 6,
    unicorn_const.UC_ERR_WRITE_UNMAPPED: 7,
    unicorn_const.UC_ERR_WRITE_PROT: 7,
}
ECALL_USER, ECALL_MACHINE = 8, 11  # unicorn does not tell the modes apart; the image runs in M


class MachineError(Exception):
    """The machine cannot go on; the text says why."""


class _Machine(ctypes.Structure):
    """`struct machine` of rv32_machine.c."""

    _fields_: ClassVar = [
        ("retired", ctypes.c_uint64),
        ("code", ctypes.c_void_p),
        ("lengths", ctypes.c_void_p),
        ("emu_stop", ctypes.c_void_p),
        ("code_base", ctypes.c_uint32),
        ("code_bytes", ctypes.c_uint32),
        ("stop", ctypes.c_uint32),
        ("finisher", ctypes.c_uint32),
        ("polls", ctypes.c_uint32),
        ("lcr", ctypes.c_uint32),
        ("rx_head", ctypes.c_uint32),
        ("rx_tail", ctypes.c_uint32),
        ("tx_count", ctypes.c_uint32),
        ("fifo_bytes", ctypes.c_uint32),
        ("mips", ctypes.c_uint32),
        ("ended", ctypes.c_uint32),
        ("link_in", ctypes.c_int32),
        *(
            (name, ctypes.c_uint64)
            for name in (
                "idle",
                "byte_time",
                "next_byte",
                "silent",
                "tx_idle",
                "next_look",
            )
        ),
        *((name, ctypes.c_void_p) for name in ("read", "reg_read", "reg_write")),
        *((name, ctypes.c_int32) for name in ("mstatus", "mie", "mepc", "mcause", "mtvec", "pc")),
        *(
            (name, ctypes.c_uint32)
            for name in (
                "ier",
                "trigger",
                "fifo_count",
                "overrun",
                "lost",
                "most",
                "taken",
            )
        ),
        ("fifo", ctypes.c_uint8 * 64),
        ("rx", ctypes.c_uint8 * 65536),
        ("tx", ctypes.c_uint8 * 65536),
    ]


def _host_compiler() -> list[str]:
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise MachineError("no C compiler for the emulator's inner loop\n  next: pip install ziglang")


def load_hooks() -> ctypes.CDLL:
    """Compile rv32_machine.c for this host, once for each version of it, and load it.

    Raises:
        MachineError: no compiler, or it fails.
    """
    source = Path(__file__).with_name("rv32_machine.c")
    compiler = _host_compiler()
    host = repr((compiler, sys.platform, platform.machine())).encode()
    key = hashlib.sha256(source.read_bytes() + host).hexdigest()
    cache = Path(os.environ.get("SPIKELET_CACHE") or Path.home() / ".cache" / "spikelet")
    library = cache / "sim" / f"rv32_machine-{key[:16]}.so"
    if not library.exists():
        try:
            library.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(
                f"cannot write {library.parent}: {error}\n  next: set SPIKELET_CACHE to a folder"
            ) from error
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            built = Path(folder) / "machine.so"
            flags = ["-std=c11", "-O2", "-shared", "-fPIC"]
            if sys.platform == "linux":
                flags.append("-nostdlib")
            environment = dict(os.environ)
            if not os.access(os.environ.get("HOME", ""), os.W_OK):  # zig's own cache lies there
                for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
                    environment.setdefault(name, str(cache / "zig"))
            command = [*compiler, *flags, str(source), "-o", str(built)]
            result = subprocess.run(command, capture_output=True, text=True, env=environment)
            if result.returncode != 0:
                raise MachineError(f"{source.name} does not compile for this host\n{result.stderr}")
            built.replace(library)
    try:
        hooks = ctypes.CDLL(str(library))
    except OSError as error:
        raise MachineError(f"cannot load {library}: {error}\n  next: delete it") from error
    expected = hooks.spk_machine_bytes()
    if ctypes.sizeof(_Machine) != expected:
        raise MachineError(
            f"layout: {expected} bytes in C, {ctypes.sizeof(_Machine)} bytes in Python"
        )
    return hooks


def _host_pages(size: int) -> tuple[Any, int]:
    """A zeroed, page-aligned host buffer: (owner to keep alive, address)."""
    owner = ctypes.create_string_buffer(size + PAGE)
    return owner, (ctypes.addressof(owner) + PAGE - 1) & ~(PAGE - 1)


def _substitute(code: bytearray, start: int, end: int) -> None:
    """Replace in place what unicorn does not do as a core does; neither size nor count changes.

    Only instructions from `start` to `end` are looked at: constants may hold the same bytes.

    `csrr rd, minstret[h]` becomes `lw rd, COUNTER[+4](zero)`. `csrw pmpcfg0, rs` becomes `nop`: the
    memory map below protects the same ranges, and unlike unicorn's PMP it tells the address.
    """
    at = start
    while at < end:
        length = 4 if code[at] & 3 == 3 else 2
        word = int.from_bytes(code[at : at + length], "little")
        high = word & 0xFFFF_F07F == 0xB820_2073
        if high or word & 0xFFFF_F07F == 0xB020_2073:
            word = (COUNTER_OFFSET + 4 * high) << 20 | 2 << 12 | word & 0xF80 | 0x03
        elif word & 0xFFF0_7FFF == 0x3A00_1073:
            word = 0x0000_0013
        code[at : at + length] = word.to_bytes(length, "little")
        at += length


class Machine:
    """Flash, RAM, serial port and core of one device.

    Args:
        image: ELF whose loadable parts lie in flash (physical addresses).
        flash: (base, bytes), a multiple of 4096 bytes, read and execute.
        ram: (base, bytes), a multiple of 4096 bytes, read and write; a reset keeps it.
        storage: more of the same elsewhere; None for none.
    """

    def __init__(
        self,
        image: Path,
        flash: tuple[int, int],
        ram: tuple[int, int],
        storage: tuple[int, int] | None = None,
    ) -> None:
        self.flash, self.ram, self.storage = flash, ram, storage
        self._hooks = load_hooks()
        self._flash, self._flash_at = _host_pages(flash[1])
        self._ram, self._ram_at = _host_pages(ram[1])
        self._storage, self._storage_at = _host_pages(storage[1] if storage else 0)
        self._lengths = (ctypes.c_uint16 * (flash[1] // 2))()
        # The counter must lie in the page that the firmware reads, so the structure starts there.
        self._owner, self._counter_at = _host_pages(ctypes.sizeof(_Machine) + PAGE)
        self.state = _Machine.from_address(self._counter_at + COUNTER_OFFSET)
        self.state.code = self._flash_at
        self.state.lengths = ctypes.addressof(self._lengths)
        self.state.code_base, self.state.code_bytes = flash
        self.state.emu_stop = ctypes.cast(unicorn.uclib.uc_emu_stop, ctypes.c_void_p)
        self._load(image)
        self._trap: tuple[int, int] = (0, 0)  # (mcause from the core, address touched)
        self.resets = 0
        self.paced = False
        self.uc = self._power_on()

    def _load(self, image: Path) -> None:
        base, size = self.flash
        code = bytearray(size)
        try:
            with image.open("rb") as file:
                elf = ELFFile(file)
                if elf["e_machine"] != "EM_RISCV" or elf.elfclass != 32:
                    raise MachineError(f"{image} is not an image for 32-bit RISC-V")
                for part in elf.iter_segments("PT_LOAD"):
                    offset = part["p_paddr"] - base
                    if part["p_filesz"] == 0:
                        continue
                    if not 0 <= offset <= size - part["p_filesz"]:
                        raise MachineError(
                            f"{image}: {part['p_filesz']} bytes for {part['p_paddr']:#x} "
                            f"lie outside flash ({base:#x}, {size} bytes)"
                        )
                    code[offset : offset + part["p_filesz"]] = part.data()
                for section in elf.iter_sections():
                    if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR:
                        start = section["sh_addr"] - base
                        _substitute(code, start, start + section["sh_size"])
                self.entry = int(elf["e_entry"])
                symbols: Any = elf.get_section_by_name(".symtab")
                found = symbols.get_symbol_by_name("spk_uart_line") if symbols else None
                self.line_at = int(found[0]["st_value"]) if found else None
        except (OSError, ELFError) as error:
            raise MachineError(f"cannot read {image}: {error}") from error
        ctypes.memmove(self._flash_at, bytes(code), size)

    def _power_on(self) -> Any:
        """A core as after reset. Memory is the host's and stays as it was."""
        uc = unicorn.Uc(unicorn_const.UC_ARCH_RISCV, unicorn_const.UC_MODE_RISCV32)
        read, write, run = (
            unicorn_const.UC_PROT_READ,
            unicorn_const.UC_PROT_WRITE,
            unicorn_const.UC_PROT_EXEC,
        )
        uc.mem_map_ptr(*self.flash, read | run, self._flash_at)
        uc.mem_map_ptr(*self.ram, read | write, self._ram_at)
        if self.storage:
            uc.mem_map_ptr(*self.storage, read | write, self._storage_at)
        uc.mem_map_ptr(COUNTER_PAGE, PAGE, read, self._counter_at)
        for page in PLIC_PAGES:
            uc.mem_map(page, PAGE)
        at = ctypes.c_void_p(ctypes.addressof(self.state))
        lib, hooks, handle = unicorn.uclib, self._hooks, uc._uch

        def address_of(function: Any) -> ctypes.c_void_p:
            return ctypes.cast(function, ctypes.c_void_p)

        lib.uc_mmio_map(
            handle, UART, PAGE,
            address_of(hooks.spk_machine_uart_read), at,
            address_of(hooks.spk_machine_uart_write), at,
        )  # fmt: skip
        lib.uc_mmio_map(handle, FINISHER, PAGE, None, None,
                        address_of(hooks.spk_machine_finish), at)  # fmt: skip
        hook = ctypes.c_size_t()
        lib.uc_hook_add(
            handle, ctypes.byref(hook), unicorn_const.UC_HOOK_BLOCK,
            address_of(hooks.spk_machine_block), at, ctypes.c_uint64(1), ctypes.c_uint64(0),
        )  # fmt: skip
        uc.hook_add(unicorn_const.UC_HOOK_INTR, self._on_exception)
        uc.hook_add(unicorn_const.UC_HOOK_MEM_INVALID, self._on_bad_access)
        return uc

    def _on_exception(self, uc: Any, cause: int, _user: object) -> None:
        self._trap = (cause, 0)
        uc.emu_stop()

    def _on_bad_access(
        self, _uc: Any, _access: int, address: int, _size: int, _value: int, _user: object
    ) -> bool:
        self._trap = (0, address)
        return False

    def _take_trap(self, cause: int, pc: int, address: int) -> int:
        """Do what the core does on a trap; answers the handler's address.

        Raises:
            MachineError: there is no handler yet.
        """
        handler = int(self.uc.reg_read(rv.UC_RISCV_REG_MTVEC)) & ~3
        if handler == 0:
            raise MachineError(
                f"trap {cause} at {pc:#010x} (address {address:#010x}) before mtvec was set"
            )
        self.uc.reg_write(rv.UC_RISCV_REG_MCAUSE, cause)
        self.uc.reg_write(rv.UC_RISCV_REG_MEPC, pc)
        self.uc.reg_write(rv.UC_RISCV_REG_MTVAL, address)
        return handler

    def run(self, pc: int) -> tuple[int, bool]:
        """Run from `pc` until the firmware waits, sends much or resets.

        Returns:
            (where to go on, whether the firmware sleeps until a byte arrives).
        """
        self.state.stop = 0
        self._trap = (0, 0)
        error = 0
        try:
            self.uc.emu_start(pc, COUNTER_PAGE)
        except unicorn.UcError as raised:
            error = raised.errno
        pc = int(self.uc.reg_read(rv.UC_RISCV_REG_PC))
        cause, address = self._trap
        if error != 0:
            if error not in CAUSES:
                raise MachineError(f"unicorn: {unicorn.UcError(error)} at {pc:#010x}")
            return self._take_trap(CAUSES[error], pc, address), False
        if cause != 0:
            # unicorn leaves the program counter four bytes behind what raised the exception
            cause = ECALL_MACHINE if cause == ECALL_USER else cause
            return self._take_trap(cause, pc - 4, 0), False
        if self.state.stop == STOP_FINISHER:
            return self._finish(), False
        return pc, self.state.stop == 0

    def _finish(self) -> int:
        value = self.state.finisher
        if value & 0xFFFF != FINISHER_RESET:
            raise SystemExit(value >> 16 if value & 0xFFFF == FINISHER_FAIL else 0)
        self.resets += 1
        self.uc = self._power_on()
        return self.entry

    def pace(self, fifo_bytes: int, baud: int, mips: int, link_in: int) -> None:
        """Make the serial port one of silicon: `--paced` of the command line."""
        state, lib = self.state, unicorn.uclib
        os.set_blocking(link_in, False)
        self.paced = True
        state.fifo_bytes, state.mips, state.link_in = fifo_bytes, mips, link_in
        state.byte_time = round(mips * 1e6 * 10 / baud * 256)
        state.trigger = 1
        self._libc = ctypes.CDLL(None)
        for name, function in (
            ("read", self._libc.read),
            ("reg_read", lib.uc_reg_read),
            ("reg_write", lib.uc_reg_write),
        ):
            setattr(state, name, ctypes.cast(function, ctypes.c_void_p))
        for name in ("mstatus", "mie", "mepc", "mcause", "mtvec", "pc"):
            setattr(state, name, getattr(rv, f"UC_RISCV_REG_{name.upper()}"))

    def line_counts(self) -> str:
        """What the firmware has counted in its `struct spk_board_line`, since its last boot."""
        if self.line_at is None:
            return "nothing"
        words = self.uc.mem_read(self.line_at, 16)
        overruns, garbled, dropped, stuck = struct.unpack("<4I", words)
        return f"{overruns} overruns, {garbled} garbled, {dropped} dropped, {stuck} stuck"

    def serve_paced(self, link_in: int, link_out: int) -> None:
        """The same as `serve` after `pace`."""
        state = self.state
        at = ctypes.byref(state)
        pc = self.entry
        while True:
            pc, asleep = self.run(pc)
            if state.tx_count:
                _send(link_out, bytes(memoryview(state.tx)[: state.tx_count]))
                state.tx_count = 0
            while asleep and not self._hooks.spk_machine_wake(at):
                select.select([link_in], [], [])
                data = os.read(link_in, ctypes.sizeof(state.rx))
                if not data:
                    return
                ctypes.memmove(state.rx, data, len(data))
                self._hooks.spk_machine_sent(at, len(data))

    def serve(self, link_in: int, link_out: int) -> None:
        """Run until `link_in` ends. Both are file descriptors.

        Raises:
            MachineError: the firmware did what the machine cannot do.
        """
        state = self.state
        room = ctypes.sizeof(state.rx)
        pc = self.entry
        while True:
            pc, asleep = self.run(pc)
            if state.tx_count:
                _send(link_out, bytes(memoryview(state.tx)[: state.tx_count]))
                state.tx_count = 0
            if state.rx_head < state.rx_tail:
                continue
            # A firmware that polls without sleeping may have other work: it is not held up long.
            wait = None if asleep else 0.002 if state.stop == STOP_POLL else 0.0
            if not select.select([link_in], [], [], wait)[0]:
                continue
            data = os.read(link_in, room)
            if not data:
                return
            ctypes.memmove(state.rx, data, len(data))
            state.rx_head, state.rx_tail = 0, len(data)


def _send(link_out: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(link_out, data) :]
        except BlockingIOError:
            select.select([], [link_out], [])


def _region(text: str) -> tuple[int, int]:
    base, size = (int(part, 0) for part in text.split(":"))
    if base % PAGE or size % PAGE or size <= 0:
        raise ValueError("not a multiple of 4096")
    return base, size


def _paced(text: str) -> tuple[int, int, int]:
    fifo, baud, mips = map(int, text.split(":"))
    if not (1 <= fifo <= 64 and baud > 0 and mips > 0):
        raise ValueError("a FIFO of 1 to 64 bytes, a baud rate and a speed in MIPS")
    return fifo, baud, mips


def main() -> int:
    """Run the machine of the command line; answers the exit code."""
    parser = argparse.ArgumentParser(description="RV32 machine with link bytes on stdin/stdout")
    parser.add_argument("image", type=Path)
    parser.add_argument("--flash", type=_region, default=(0x8000_0000, 0x8_0000))
    parser.add_argument("--ram", type=_region, default=(0x8040_0000, 0x4_0000))
    parser.add_argument("--storage", type=_region)
    parser.add_argument("--stats", action="store_true", help="instructions and MIPS at the end")
    parser.add_argument("--paced", type=_paced, metavar="FIFO:BAUD:MIPS")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    try:
        machine = Machine(arguments.image, arguments.flash, arguments.ram, arguments.storage)
        link = sys.stdin.fileno(), sys.stdout.fileno()
        if arguments.paced:
            fifo, baud, mips = arguments.paced
            machine.pace(fifo, baud, mips, link[0])
            machine.serve_paced(*link)
        else:
            machine.serve(*link)
    except MachineError as error:
        print(f"rv32_unicorn: {error}", file=sys.stderr)
        return 3
    except (BrokenPipeError, ConnectionResetError):
        return 0
    if arguments.stats:
        spent = time.perf_counter() - begin
        retired = machine.state.retired
        print(f"rv32_unicorn: {retired} instructions in {spent:.3f} s", file=sys.stderr)
        if machine.paced:
            state = machine.state
            print(
                f"rv32_unicorn: {state.lost} bytes lost, at most {state.most} of "
                f"{state.fifo_bytes} in the FIFO, {state.taken} interrupts, "
                f"{machine.resets} resets\n"
                f"rv32_unicorn: the firmware counted {machine.line_counts()}",
                file=sys.stderr,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
