"""What an instruction is, as far as its time depends on it: Thumb of Armv7E-M, and RV32IMFC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Instructions that take the same time."""

    ALU = "arithmetic"
    MUL = "multiply"
    MULH = "multiply, high word"
    DIV = "divide"
    LOAD = "load"
    LOAD_MANY = "load multiple"
    STORE = "store"
    STORE_MANY = "store multiple"
    BRANCH = "conditional branch"
    JUMP = "jump"
    CSR = "system register"
    FLOAT = "float"
    FLOAT_MLA = "float multiply-add"
    FLOAT_DIV = "float divide"


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        kind: what it is.
        size: bytes, 2 or 4.
        registers: words that it moves; 1 of a single load or store.
        jumps: it also goes elsewhere: a load of the program counter.
        writes_back: a load or store that changes its base register.
        target: register that a load writes, -1 of others or unknown.
        sources: registers that it reads; only of RV32.
    """

    kind: Kind
    size: int
    registers: int = 1
    jumps: bool = False
    writes_back: bool = False
    target: int = -1
    sources: tuple[int, ...] = ()


def thumb(code: bytes, at: int) -> Instruction:
    """The instruction of Thumb at an offset of `code`."""
    first = int.from_bytes(code[at : at + 2], "little")
    if first >> 11 in (0b11101, 0b11110, 0b11111):
        return _wide(first, int.from_bytes(code[at + 2 : at + 4], "little"))
    return _narrow(first)


def literal(code: bytes, at: int, address: int) -> int | None:
    """How far behind an instruction of Thumb the word lies that it loads relative to the program
    counter; None of others.

    Args:
        code: instructions.
        at: offset of the one that is meant.
        address: where it lies in memory.
    """
    first, second = (int.from_bytes(code[i : i + 2], "little") for i in (at, at + 2))
    pc = (address & ~3) + 4 - address
    if first & 0xF800 == 0x4800:
        return pc + 4 * (first & 0xFF)
    if first & 0xFE1F == 0xF81F and second & 0xF000 != 0xF000:  # what is not a hint to a cache
        offset = second & 0xFFF
    elif first & 0xFF3F == 0xED1F or first & 0xFF7F == 0xE95F:  # vldr, ldrd
        offset = 4 * (second & 0xFF)
    elif first == 0xE8DF and second & 0xFFE0 == 0xF000:  # a table of jumps right behind it
        return 4
    else:
        return None
    return pc + (offset if first & 0x80 else -offset)


def _narrow(word: int) -> Instruction:
    top = word >> 12
    if top == 0x4:
        return _narrow_4(word)
    if top == 0x5:
        return Instruction(Kind.STORE if word >> 9 & 7 < 3 else Kind.LOAD, 2)
    if top in (0x6, 0x7, 0x8, 0x9):
        return Instruction(Kind.LOAD if word & 0x800 else Kind.STORE, 2)
    if top == 0xB:
        if word & 0xFE00 == 0xB400:
            return Instruction(Kind.STORE_MANY, 2, (word & 0x1FF).bit_count())
        if word & 0xFE00 == 0xBC00:
            return Instruction(
                Kind.LOAD_MANY, 2, (word & 0x1FF).bit_count(), jumps=bool(word & 0x100)
            )
        if word & 0xF500 == 0xB100:
            return Instruction(Kind.BRANCH, 2)
    if top == 0xC:
        kind = Kind.LOAD_MANY if word & 0x800 else Kind.STORE_MANY
        return Instruction(kind, 2, (word & 0xFF).bit_count())
    if top == 0xD and word >> 8 & 0xF < 14:
        return Instruction(Kind.BRANCH, 2)
    if top == 0xE:
        return Instruction(Kind.JUMP, 2)
    return Instruction(Kind.ALU, 2)


def _narrow_4(word: int) -> Instruction:
    if word & 0xF800 == 0x4800:
        return Instruction(Kind.LOAD, 2)
    if word & 0xFF00 == 0x4700 or word & 0xFF87 in (0x4687, 0x4487):  # bx, blx; mov, add to pc
        return Instruction(Kind.JUMP, 2)
    return Instruction(Kind.MUL if word & 0xFFC0 == 0x4340 else Kind.ALU, 2)


def _wide(first: int, second: int) -> Instruction:
    loads = bool(first & 0x10)
    if first & 0xFE40 == 0xE800:
        kind = Kind.LOAD_MANY if loads else Kind.STORE_MANY
        return Instruction(kind, 4, second.bit_count(), jumps=loads and bool(second & 0x8000))
    if first & 0xFE40 == 0xE840:
        if first & 0xFFF0 == 0xE8D0 and second & 0xFFE0 == 0xF000:  # a jump through a table
            return Instruction(Kind.LOAD, 4, jumps=True)
        return Instruction(Kind.LOAD_MANY if loads else Kind.STORE_MANY, 4, 2)
    if first & 0xFE00 == 0xF800:
        back = not first & 0x80 and second & 0x900 == 0x900
        to_pc = loads and first & 0x60 == 0x40 and second >> 12 == 15
        kind = Kind.LOAD if loads else Kind.STORE
        return Instruction(kind, 4, writes_back=back, jumps=to_pc)
    if first & 0xFF00 == 0xFB00:
        return Instruction(Kind.DIV if first & 0xFFD0 == 0xFB90 else Kind.MUL, 4)
    if first & 0xF800 == 0xF000 and second & 0x8000:
        return _wide_branch(first, second)
    if first & 0xEC00 == 0xEC00:
        return _float(first, second)
    return Instruction(Kind.ALU, 4)


def _wide_branch(first: int, second: int) -> Instruction:
    if second & 0x5000:  # b, bl
        return Instruction(Kind.JUMP, 4)
    if first >> 6 & 0xE != 0xE:
        return Instruction(Kind.BRANCH, 4)
    return Instruction(Kind.CSR, 4)


def _float(first: int, second: int) -> Instruction:
    if first & 0xFF00 in (0xEC00, 0xED00) and first & 0xFFC0 != 0xEC40:
        loads = bool(first & 0x10)
        if first & 0x120 == 0x100:  # vldr, vstr: an offset, and no change of the base
            return Instruction(Kind.LOAD if loads else Kind.STORE, 4)
        return Instruction(Kind.LOAD_MANY if loads else Kind.STORE_MANY, 4, max(second & 0xFF, 1))
    if first & 0xFF00 == 0xEE00 and second & 0x10 == 0:
        operation = first & 0xB0
        if operation == 0x80 or (operation == 0xB0 and second & 0xC0 == 0xC0 and first & 15 == 1):
            return Instruction(Kind.FLOAT_DIV, 4)
        return Instruction(Kind.FLOAT_MLA if operation in (0x00, 0x10, 0xA0) else Kind.FLOAT, 4)
    return Instruction(Kind.FLOAT, 4)


def rv32(code: bytes, at: int) -> Instruction:
    """The instruction of RV32 at an offset of `code`."""
    if code[at] & 3 != 3:
        return _compressed(int.from_bytes(code[at : at + 2], "little"))
    word = int.from_bytes(code[at : at + 4], "little")
    opcode, rd, funct3 = word & 0x7F, word >> 7 & 31, word >> 12 & 7
    rs1, rs2 = word >> 15 & 31, word >> 20 & 31
    match opcode:
        case 0x03 | 0x07:
            return Instruction(Kind.LOAD, 4, target=rd, sources=(rs1,))
        case 0x23 | 0x27:
            return Instruction(Kind.STORE, 4, sources=(rs1, rs2))
        case 0x33 if word >> 25 == 1:
            kind = Kind.MUL if funct3 == 0 else Kind.MULH if funct3 < 4 else Kind.DIV
            return Instruction(kind, 4, sources=(rs1, rs2))
        case 0x63:
            return Instruction(Kind.BRANCH, 4, sources=(rs1, rs2))
        case 0x6F:
            return Instruction(Kind.JUMP, 4)
        case 0x67:
            return Instruction(Kind.JUMP, 4, sources=(rs1,))
        case 0x73 | 0x0F:
            return Instruction(Kind.CSR, 4, sources=(rs1,))
        case 0x43 | 0x47 | 0x4B | 0x4F:
            return Instruction(Kind.FLOAT_MLA, 4)
        case 0x53:
            divides = word >> 25 & 0x7C in (0x0C, 0x2C)
            return Instruction(Kind.FLOAT_DIV if divides else Kind.FLOAT, 4)
        case 0x33:
            return Instruction(Kind.ALU, 4, sources=(rs1, rs2))
        case 0x37 | 0x17:
            return Instruction(Kind.ALU, 4)
    return Instruction(Kind.ALU, 4, sources=(rs1,))


def _compressed(word: int) -> Instruction:
    funct3, rd, rs2 = word >> 13, word >> 7 & 31, word >> 2 & 31
    low, high = 8 + (word >> 2 & 7), 8 + (word >> 7 & 7)  # rd' or rs2', and rs1'
    match word & 3, funct3:
        case 0, 2 | 3:
            return Instruction(Kind.LOAD, 2, target=low, sources=(high,))
        case 0, 6 | 7:
            return Instruction(Kind.STORE, 2, sources=(high, low))
        case 1, 1 | 5:
            return Instruction(Kind.JUMP, 2)
        case 1, 6 | 7:
            return Instruction(Kind.BRANCH, 2, sources=(high,))
        case 1, 4:
            return Instruction(Kind.ALU, 2, sources=(high, low) if word >> 10 & 3 == 3 else (high,))
        case 1, 0:
            return Instruction(Kind.ALU, 2, sources=(rd,))
        case 2, 2 | 3:
            return Instruction(Kind.LOAD, 2, target=rd, sources=(2,))
        case 2, 6 | 7:
            return Instruction(Kind.STORE, 2, sources=(2, rs2))
        case 2, 4 if rs2 == 0 and rd:
            return Instruction(Kind.JUMP, 2, sources=(rd,))
        case 2, 4:
            return Instruction(Kind.ALU, 2, sources=(rd, rs2) if word >> 12 & 1 else (rs2,))
        case 2, 0:
            return Instruction(Kind.ALU, 2, sources=(rd,))
    return Instruction(Kind.ALU, 2)
