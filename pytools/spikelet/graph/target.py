"""Instruction sets: what `isa` of a board.toml says, parsed once and checked against the known.

Kernels come in variants for an instruction set, so a model.c is made for one, and says in its first
lines what a compiler must tell of itself (`Target.conditions`).
"""

from __future__ import annotations

import contextlib
import difflib
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

# Arm's M profile: extensions that an architecture may have, as GCC's -march names them, and those
# that it always has.
_ARM = {
    "armv6-m": ((), ()),
    "armv7-m": ((), ()),
    "armv7e-m": (("fp", "fpv5", "fp.dp"), ("dsp",)),
    "armv8-m.base": ((), ()),
    "armv8-m.main": (("dsp", "fp", "fp.dp"), ()),
    "armv8.1-m.main": (("dsp", "fp", "fp.dp", "mve", "mve.fp", "pacbti"), ()),
}
_THUMB1 = ("armv6-m", "armv8-m.base")
# What an extension brings along.
_IMPLIES = {
    "fpv5": ("fp",),
    "fp.dp": ("fp",),
    "mve": ("dsp",),
    "mve.fp": ("mve", "dsp", "fp"),
    "g": ("i", "m", "a", "f", "d", "zicsr", "zifencei"),
    "d": ("f",),
    "b": ("zba", "zbb", "zbs"),
    "v": ("f", "d"),
    "zfh": ("f",),
}
# 32 registers, 16 of them, or the general ones; then letters in the order that compilers ask for.
_RISCV_BASES, _RISCV_LETTERS = "ieg", "mafdcbv"
_RISCV_WORDS = (
    "zicsr", "zifencei", "zba", "zbb", "zbc", "zbs", "zfh", "zca", "zcb", "zcmp", "zmmul",
)  # fmt: skip
# What a RISC-V compiler defines for an extension; the others leave no trace in C.
_RISCV_MACROS = {
    "e": "(defined(__riscv_32e) || defined(__riscv_e))",
    "m": "defined(__riscv_mul)",
    "a": "defined(__riscv_atomic)",
    "f": "defined(__riscv_flen)",
    "d": "(defined(__riscv_flen) && __riscv_flen >= 64)",
    "c": "defined(__riscv_compressed)",
    "v": "defined(__riscv_vector)",
    "zba": "defined(__riscv_zba)",
    "zbb": "defined(__riscv_zbb)",
    "zbc": "defined(__riscv_zbc)",
    "zbs": "defined(__riscv_zbs)",
    "zfh": "defined(__riscv_zfh)",
}
_NO_ZBB = (f"!{_RISCV_MACROS['zbb']}", "a core without extension zbb")
HOST, PORTABLE = "host", "portable"
# What people call a core; one whose name ends with the f of its FPU has +fp as well. C without
# variants is what runs on cores that have none here.
_PLAIN = {
    "cortex-m0": "armv6-m", "cortex-m0+": "armv6-m", "cortex-m1": "armv6-m",
    "cortex-m3": "armv7-m", "cortex-m4": "armv7e-m", "cortex-m7": "armv7e-m",
    "cortex-m23": "armv8-m.base", "cortex-m33": "armv8-m.main+dsp",
    "cortex-m35p": "armv8-m.main+dsp", "cortex-m52": "armv8.1-m.main+mve",
    "cortex-m55": "armv8.1-m.main+mve", "cortex-m85": "armv8.1-m.main+mve",
    "xtensa-lx6": PORTABLE, "xtensa-lx7": PORTABLE,
}  # fmt: skip
_FPUS = [name for name, isa in _PLAIN.items() if "fp" in _ARM.get(isa.split("+")[0], ((),))[0]]
CORES = _PLAIN | {f"{name}f": f"{_PLAIN[name]}+fp" for name in _FPUS}


@dataclass(frozen=True)
class Target:
    """An instruction set.

    Attributes:
        name: as board.toml writes it: `armv8-m.main+dsp`, `rv32imac_zbb`, `host` for the computer
            that compiles, `portable` for C without variants, for any other core.
        core: the architecture: one of Arm's M profile, `rv32`, `host` or `portable`.
        extensions: what the core has beyond it, and what that brings along.
    """

    name: str
    core: str
    extensions: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Target:
        """The target that a text names.

        Raises:
            ValueError: nothing that is known; the text says what is, and the nearest.
        """
        if text in (HOST, PORTABLE):
            return cls(text, text)
        if re.fullmatch(rf"rv32[{_RISCV_BASES}][a-z]*(_[a-z0-9]+)*", text):
            letters, *words = text.removeprefix("rv32").split("_")
            if "z" in letters and (near := _nearest(text, re.sub("_?z", "_z", text))):
                raise ValueError(
                    f"{text!r} joins words without '_'; did you mean {near!r}?"
                    f" Known here: {', '.join(_RISCV_WORDS)}"
                )
            base, letters = letters[0], letters[1:]
            _check_known(text, letters, _RISCV_LETTERS)
            _check_known(text, words, _RISCV_WORDS)
            ordered = "".join(sorted(set(letters), key=_RISCV_LETTERS.index))
            if letters != ordered:
                near = "_".join([f"rv32{base}{ordered}", *words])
                raise ValueError(
                    f"{text!r} has its letters out of order, or twice; did you mean {near!r}?"
                )
            return cls(text, "rv32", _with_implied([base, *letters, *words]))
        core, *extensions = text.split("+")
        if core not in _ARM:
            raise ValueError(_unknown_core(text, core))
        optional, always = _ARM[core]
        _check_known(text, extensions, (*optional, *always))
        return cls(text, core, _with_implied([*always, *extensions]))

    @classmethod
    def of_core(cls, text: str) -> Target:
        """As `parse`, or by what people call a core, one of `CORES`."""
        called = _as_called(text)
        try:
            return cls.parse(CORES.get(called, text))
        except ValueError as e:
            near = difflib.get_close_matches(called, CORES, n=1, cutoff=0.8)
            hint = f"{text!r} is no core; did you mean {near[0]!r}?" if near else str(e)
            raise ValueError(f"{hint} Cores: {', '.join(CORES)}") from e

    def __str__(self) -> str:
        return self.name

    def has(self, extension: str) -> bool:
        """Whether it has an extension: `dsp`, `mve`, `m`, `f`, `zbb`, ..."""
        return extension in self.extensions

    @property
    def arm(self) -> bool:
        """Whether it is one of Arm's M profile."""
        return self.core in _ARM

    @property
    def riscv(self) -> bool:
        """Whether it is RV32."""
        return self.core == "rv32"

    @property
    def pointer_bytes(self) -> int | None:
        """Bytes of an address; None where the core is not known."""
        if self.core == HOST:
            return struct.calcsize("P")
        return None if self.core == PORTABLE else 4

    @property
    def multiplies(self) -> bool:
        """Whether it has a multiplier: RV32 without M adds and shifts."""
        return not self.riscv or self.has("m") or self.has("zmmul")

    @property
    def thumb1(self) -> bool:
        """Whether it is Arm's small instruction set, without long products."""
        return self.core in _THUMB1

    @property
    def dsp(self) -> bool:
        """Whether it has Arm's dual 16-bit multiplies."""
        return self.has("dsp")

    @property
    def mve(self) -> bool:
        """Whether it has Arm's M-profile vector extension."""
        return self.has("mve")

    @property
    def fpu(self) -> bool:
        """Whether it says that it has floats in hardware."""
        return self.has("fp") or self.has("f")

    def conditions(self) -> list[tuple[str, str]]:
        """What a compiler for it tells: conditions of C's preprocessor, with what each one means.

        An Arm core must have just the variants that model.c was made with: a smaller core cannot
        execute them, on a larger one the C runs slower than it could, unnoticed. On an RV32 core
        with Zbb rows of bits lie in another order, so that is asked of every other target.
        """
        if self.core == HOST:
            size = self.pointer_bytes
            same = f"!defined(__SIZEOF_POINTER__) || __SIZEOF_POINTER__ == {size}"
            return [(same, f"a computer with addresses of {size} bytes")]
        if self.riscv:
            needed = [e for e in _RISCV_MACROS if self.has(e)]
            return [
                ("defined(__riscv_xlen) && __riscv_xlen == 32", "an RV32 core"),
                *((_RISCV_MACROS[e], f"a core with extension {e}") for e in needed),
                *([] if self.has("zbb") else [_NO_ZBB]),
            ]
        if not self.arm:
            return [_NO_ZBB]
        small = "defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB == 1"
        pairs = [
            ("defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'", "an Arm Cortex-M"),
            (small, "a core with Armv6-M's instructions only")
            if self.thumb1
            else (f"!({small})", "a core with more than Armv6-M's instructions"),
        ]
        for there, macro, words in (
            (self.dsp, "__ARM_FEATURE_DSP", "DSP (+dsp)"),
            (self.mve, "__ARM_FEATURE_MVE", "MVE (+mve)"),
        ):
            pairs.append(
                (f"defined({macro})", f"a core with {words}")
                if there
                else (f"!defined({macro})", f"a core without {words}")
            )
        if self.fpu:
            pairs.append(("defined(__ARM_FP)", "a core with an FPU (+fp)"))
        return pairs


# C that runs on any core.
ANY = Target(PORTABLE, PORTABLE)


def _with_implied(extensions: Iterable[str]) -> frozenset[str]:
    letters: set[str] = set()
    pending = list(extensions)
    while pending:
        extension = pending.pop()
        letters.add(extension)
        pending += [e for e in _IMPLIES.get(extension, ()) if e not in letters]
    return frozenset(letters)


def _check_known(text: str, extensions: Iterable[str], known: Iterable[str]) -> None:
    known = tuple(known)
    for extension in extensions:
        if extension not in known:
            near = difflib.get_close_matches(extension, known, n=1, cutoff=0.5)
            raise ValueError(
                f"{text!r} names the unknown extension {extension!r}"
                + (f"; did you mean {near[0]!r}?" if near else ".")
                + f" Known here: {', '.join(known) or 'none'}"
            )


def _nearest(text: str, *candidates: str) -> str | None:
    """The first that is known, and not what was written."""
    for candidate in candidates:
        with contextlib.suppress(ValueError):
            if candidate != text:
                return Target.parse(candidate).name
    return None


def _as_called(core: str) -> str:
    return core.lower().strip().replace("_", "-")


def _unknown_core(text: str, core: str) -> str:
    known = [*_ARM, "rv32i...", "rv32e...", HOST, PORTABLE]
    near, written = CORES.get(_as_called(core)), re.sub(r"\s", "", text.lower())
    if near is None:
        core = written.partition("+")[0]
        close = difflib.get_close_matches(core, [*_ARM, "rv32imac", HOST, PORTABLE], n=1)
        near = _nearest(text, written, *(written.replace(core, name, 1) for name in close), *close)
    return (
        f"{text!r} is not a known instruction set"
        + (f"; did you mean {near!r}?" if near else ".")
        + f" Known: {', '.join(known)}; {PORTABLE} is plain C for any other core"
    )
