"""Cores, as their manuals time them.

A figure is (least, assumed, most), which differ where the manual gives a range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from spikelet.run.cycles.decode import Instruction, Kind

Span = tuple[float, float, float]  # least, assumed, most
ASSUMED = 1


def _exactly(cycles: float) -> Span:
    return cycles, cycles, cycles


@dataclass(frozen=True)
class Core:
    """One core.

    Attributes:
        board: whose image is executed.
        source: where its timings stand.
        thumb: whether its instructions are Thumb, not RV32.
        kinds: cycles of an instruction, 1 of those that are not named.
        refill: added by a jump, and by a conditional branch that is taken.
        jump: added by a jump alone, in place of `refill`; None for the same.
        word: of a load or store of several registers, for each.
        pipelined: a load right behind a single load or store takes one cycle less.
        load_use: added where the next instruction reads what a load wrote.
        wide_target: added by a jump to an instruction of 4 bytes that no word begins with.
        prefetch: words that its prefetch buffer holds, where loads from flash and fetching share a
            port of 4 bytes a cycle and loads go first; 0 where that is no matter.
        assumptions: what it takes for granted, for people.
    """

    board: str
    source: str
    kinds: dict[Kind, Span]
    refill: Span
    jump: Span | None = None
    word: float = 1.0
    thumb: bool = False
    pipelined: bool = False
    load_use: float = 0.0
    wide_target: float = 0.0
    prefetch: int = 0
    assumptions: tuple[str, ...] = field(default=())

    def kind(self, kind: Kind, which: int = ASSUMED) -> float:
        """Cycles of an instruction by itself."""
        return self.kinds.get(kind, _exactly(1.0))[which]


CORES = {
    "cortex-m4": Core(
        board="mps2-an386",
        source="Arm 100166_0001_00 (Cortex-M4 TRM), table 3-1 and 3.3.2",
        kinds={
            Kind.LOAD: _exactly(2), Kind.LOAD_MANY: _exactly(1), Kind.STORE_MANY: _exactly(1),
            Kind.DIV: (2, 7, 12), Kind.CSR: _exactly(2), Kind.FLOAT_MLA: _exactly(3),
            Kind.FLOAT_DIV: _exactly(14),
        },
        refill=(1, 2, 3),
        thumb=True,
        pipelined=True,
        assumptions=(
            "a taken branch refills the pipeline in 2 cycles (the manual: 1 to 3)",
            "a load takes 2 cycles, 1 right behind another single load or store; a store 1, by the "
            "write buffer",
            "a division takes 7 cycles (the manual: 2 to 12)",
            "instructions under IT are executed, and IT is not folded",
        ),
    ),
    "ibex": Core(
        board="ibex-rtl",
        source="Ibex reference guide, pipeline details: two stages, fast multiplier",
        kinds={
            Kind.LOAD: _exactly(2), Kind.STORE: _exactly(2), Kind.MUL: _exactly(3),
            Kind.MULH: _exactly(4), Kind.DIV: _exactly(38),
        },
        refill=_exactly(2),
        jump=_exactly(1),
        wide_target=1.0,
    ),
    "cv32e40p": Core(
        board="cv32e40p-rtl",
        source="CV32E40P user manual 1.0.1, table of cycle counts per instruction type",
        kinds={Kind.MULH: _exactly(5), Kind.DIV: (3, 19, 35), Kind.CSR: (1, 4, 4)},
        refill=_exactly(2),
        jump=_exactly(1),
        load_use=1.0,
        wide_target=1.0,
        prefetch=2,
        assumptions=(
            "a division takes 19 cycles (the manual: 3 to 35)",
            "a prefetch buffer of 2 words; loads from flash take the port that it is filled by",
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class BlockCost:
    """Cycles of a block of instructions, each (least, assumed, most).

    Attributes:
        run: of each time that it is entered.
        taken: more, when its conditional branch is taken.
        entered: more, when it is come to by a jump.
    """

    run: Span
    taken: Span
    entered: float


def block_cost(core: Core, block: Sequence[Instruction], address: int) -> BlockCost:
    """What a block takes by a core's manual, from flash without wait states."""
    run = [0.0, 0.0, 0.0]
    before: Instruction | None = None
    jump = core.refill if core.jump is None else core.jump
    for one in block:
        leaves = one.jumps or one.kind is Kind.JUMP
        for i in range(3):
            run[i] += core.kind(one.kind, i) + (jump[i] if leaves else 0)
            if one.kind in (Kind.LOAD_MANY, Kind.STORE_MANY):
                run[i] += core.word * one.registers
            elif core.pipelined and one.kind is Kind.LOAD and _leads(before):
                run[i] -= 1
            if before is not None and before.target > 0 and before.target in one.sources:
                run[i] += core.load_use
        before = one
    conditional = bool(block) and block[-1].kind is Kind.BRANCH
    wide = bool(block) and block[0].size == 4 and address % 4 == 2
    return BlockCost(
        (run[0], run[1], run[2]),
        core.refill if conditional else _exactly(0.0),
        core.wide_target if wide else 0.0,
    )


def _leads(before: Instruction | None) -> bool:
    """Whether the address of a load may be sent during the data of this instruction."""
    return (
        before is not None
        and before.kind in (Kind.LOAD, Kind.STORE)
        and not before.writes_back
        and not before.jumps
    )
