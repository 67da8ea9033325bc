"""Instruction sets: what is known, what a name means, and how a wrong one is refused."""

from __future__ import annotations

import pytest

from spikelet.board.parts import parts
from spikelet.errors import UsageError
from spikelet.graph.target import CORES, Target


@pytest.mark.parametrize(
    ("name", "dsp", "mve", "thumb1", "fpu"),
    [
        ("armv6-m", False, False, True, False),
        ("armv7-m", False, False, False, False),
        ("armv7e-m", True, False, False, False),
        ("armv7e-m+fp", True, False, False, True),
        ("armv8-m.base", False, False, True, False),
        ("armv8-m.main", False, False, False, False),
        ("armv8-m.main+dsp", True, False, False, False),
        ("armv8-m.main+dsp+fp", True, False, False, True),
        ("armv8.1-m.main", False, False, False, False),
        ("armv8.1-m.main+dsp", True, False, False, False),
        ("armv8.1-m.main+mve", True, True, False, False),
        ("armv8.1-m.main+mve.fp+fp.dp", True, True, False, True),
        ("rv32imac", False, False, False, False),
        ("rv32imafc", False, False, False, True),
        ("rv32gc_zbb", False, False, False, True),
        ("host", False, False, False, False),
        ("portable", False, False, False, False),
    ],
)
def test_a_name_says_what_a_core_has(
    name: str, dsp: bool, mve: bool, thumb1: bool, fpu: bool
) -> None:
    target = Target.parse(name)
    assert (target.dsp, target.mve, target.thumb1, target.fpu) == (dsp, mve, thumb1, fpu)
    assert str(target) == name
    assert target == Target.parse(name)


@pytest.mark.parametrize(
    ("name", "multiplies"),
    [("rv32ec", False), ("rv32ic", False), ("rv32emc", True), ("rv32ic_zmmul", True),
     ("rv32imac", True), ("armv6-m", True), ("host", True), ("portable", True)],
)  # fmt: skip
def test_a_core_of_risc_v_multiplies_or_adds(name: str, multiplies: bool) -> None:
    target = Target.of_core(name)
    assert target.multiplies is multiplies
    assert target.has("e") is name.startswith("rv32e")
    told = [words for _, words in target.conditions()]
    assert ("a core with extension e" in told) is name.startswith("rv32e")


def test_extensions_bring_others_along() -> None:
    assert Target.parse("rv32gcb").extensions >= set("imafdcb") | {"zba", "zbb", "zbs", "zicsr"}
    assert Target.parse("rv32imac_zbb").has("zbb")
    assert not Target.parse("rv32imac").has("zbb")


@pytest.mark.parametrize(
    ("name", "near"), [("rv32iacm", "rv32imac"), ("rv32immac_zbb", "rv32imac_zbb")]
)
def test_letters_of_risc_v_stand_in_their_order(name: str, near: str) -> None:
    with pytest.raises(ValueError, match="order") as caught:
        Target.parse(name)
    assert f"did you mean {near!r}?" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("armv8m-main", "did you mean 'armv8-m.main'?"),
        ("armv8-m-main+dsp", "did you mean 'armv8-m.main+dsp'?"),
        ("ARMv7E-M", "not a known instruction set"),
        ("armv7em", "did you mean 'armv7e-m'?"),
        ("cortex-m4", "did you mean 'armv7e-m'?"),
        ("Cortex-M55", "did you mean 'armv8.1-m.main+mve'?"),
        ("armv8-m.main+dps", "unknown extension 'dps'; did you mean 'dsp'?"),
        ("armv8.1-m.main+mev", "did you mean 'mve'?"),
        ("armv7-m+dsp", "unknown extension 'dsp'"),
        ("rv32imacx", "unknown extension 'x'"),
        ("rv32imac_zicssr", "did you mean 'zicsr'?"),
        ("rv32iacm_zicssr", "did you mean 'zicsr'?"),
        ("rv32", "did you mean 'rv32imac'?"),
        ("rv32iec", "unknown extension 'e'"),
        ("rv32mc", "did you mean 'rv32imac'?"),
        ("rv64gc", "portable is plain C for any other core"),
        ("hots", "did you mean 'host'?"),
        ("", "Known: armv6-m"),
        ("armv7e-m+", "unknown extension ''"),
        ("armv7e-m dsp", "did you mean"),
        ("ARMv7E-M+FP", "did you mean 'armv7e-m+fp'?"),
        ("armv7e-m +fp", "did you mean 'armv7e-m+fp'?"),
        ("RV32IMAC", "did you mean 'rv32imac'?"),
        ("rv32imac\n", "did you mean 'rv32imac'?"),
        ("rv32imaczbb", "did you mean 'rv32imac_zbb'?"),
        ("host+x", "did you mean 'host'?"),
        ("Cortex-M4F", "did you mean 'armv7e-m+fp'?"),
    ],
)
def test_an_unknown_name_is_refused_with_what_is_known_and_near(name: str, near: str) -> None:
    with pytest.raises(ValueError, match="nown") as caught:
        Target.parse(name)
    assert near in str(caught.value)
    assert repr(name) in str(caught.value)


def test_a_core_has_one_name_wherever_one_is_asked_for() -> None:
    """What `export --target` takes is what `fit --core` takes, and the other way round."""
    known = parts()
    for core in known.cores:
        assert known.select(core), core
        Target.of_core(core)
    for core in [*CORES, *sorted(set(CORES.values()))]:
        target = Target.of_core(core)
        try:
            chosen = known.select(core)
        except UsageError as error:  # nobody's part of the list has it
            assert f"no part of the list has the core {core!r}" in error.what
            assert core in ("cortex-m1", "cortex-m23", "cortex-m35p", "cortex-m35pf", "cortex-m52",
                            "cortex-m52f", "armv8-m.base")  # fmt: skip
            continue
        cores = {Target.of_core(part.core) for part in chosen.values()}
        assert {c.core for c in cores} == {target.core}, core
    assert set(known.select("Cortex-M4")) == set(known.select("cortex-m4f"))
    assert Target.of_core("cortex-m4f").fpu and not Target.of_core("cortex-m4").fpu


@pytest.mark.parametrize(
    ("name", "near"), [("cortex-m44", "cortex-m4"), ("cortexm7", "cortex-m7"), ("m4", "cortex-m0")]
)
def test_an_unknown_core_names_the_nearest_and_all(name: str, near: str) -> None:
    with pytest.raises(ValueError, match="no") as caught:
        Target.of_core(name)
    assert near in str(caught.value) and "Cores: cortex-m0, " in str(caught.value)
