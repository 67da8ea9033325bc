"""Instruction sets: what is known, what a name means, and how a wrong one is refused."""

from __future__ import annotations

import pytest

from spikelet.graph.target import Target


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
        ("rv32emc", "Known: armv6-m"),
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
        ("Cortex-M4F", "did you mean 'armv7e-m'?"),
    ],
)
def test_an_unknown_name_is_refused_with_what_is_known_and_near(name: str, near: str) -> None:
    with pytest.raises(ValueError, match="nown") as caught:
        Target.parse(name)
    assert near in str(caught.value)
    assert repr(name) in str(caught.value)
