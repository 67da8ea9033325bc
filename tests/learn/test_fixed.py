"""The integer primitives of learners: against exact arithmetic, and C against Python."""

from __future__ import annotations

import ctypes
import math
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikelet.graph import Array
from spikelet.learn.numbers import fixed
from support import need

ROOT = Path(__file__).resolve().parents[2]
INT32 = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-300, 300),
    st.sampled_from([-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1]),
)
WIDE = st.integers(0, 2**62 - 1) | st.integers(0, 70000)

SOURCE = """
#include "learn/fixed.h"
typedef const int64_t *const IN;
#define EACH(name, call) \\
    void c_##name(IN a, IN b, IN c, uint32_t n, int64_t *to); \\
    void c_##name(IN a, IN b, IN c, uint32_t n, int64_t *to) { \\
        for (uint32_t i = 0; i < n; i++) { \\
            (void)a; (void)b; (void)c; \\
            to[i] = call; \\
        } \\
    }
#define A32 ((int32_t)a[i])
#define B32 ((int32_t)b[i])
#define C32 ((uint32_t)c[i])
EACH(sat32, spk_sat32(a[i]))
EACH(sat16, spk_sat16(A32))
EACH(sat8, spk_sat8(A32))
EACH(add, spk_add_sat(A32, B32))
EACH(shift_round, spk_shift_round(A32, C32))
EACH(shift_round64, spk_shift_round64(a[i], C32))
EACH(ema, spk_ema(A32, B32, C32))
EACH(decay, spk_decay(A32, C32))
EACH(exp2, spk_exp2(A32))
EACH(log2, spk_log2(a[i]))
EACH(bit_length, spk_bit_length64(a[i]))
EACH(isqrt, spk_isqrt(a[i]))
EACH(mean, spk_mean(A32, (uint32_t)b[i], C32))
EACH(divide, spk_divide(A32, B32))
void margin(const int32_t *scores, uint32_t classes, int32_t *to);
void margin(const int32_t *scores, uint32_t classes, int32_t *to) {
    to[0] = (int32_t)spk_margin(scores, classes, &to[1]);
}
"""


class Library:
    """fixed.h, with traps for undefined behaviour."""

    def __init__(self, folder: Path) -> None:
        source, library = folder / "fixed.c", folder / "fixed.so"
        source.write_text(SOURCE)
        flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-shared"]
        flags += ["-fPIC", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
        include = ["-I", str(ROOT / "firmware")]
        subprocess.run(["gcc", *flags, *include, str(source), "-o", str(library)], check=True)
        self.loaded = ctypes.CDLL(str(library))

    def __call__(self, name: str, *arguments: Array | int) -> Array:
        """One primitive of int64 arrays a, b, c."""
        arrays = [np.asarray(v, np.int64) for v in (*arguments, 0, 0, 0)[:3]]
        wide = [np.ascontiguousarray(v) for v in np.broadcast_arrays(*arrays)]
        to = np.zeros_like(wide[0])
        pointers = [v.ctypes.data_as(ctypes.c_void_p) for v in wide]
        getattr(self.loaded, f"c_{name}")(*pointers, to.size, to.ctypes.data_as(ctypes.c_void_p))
        return to

    def margin(self, scores: Array) -> tuple[int, int]:
        """Index of the largest of (C,) int32, its lead."""
        to = np.zeros(2, np.int32)
        pointers = [v.ctypes.data_as(ctypes.c_void_p) for v in (scores, to)]
        self.loaded.margin(pointers[0], scores.size, pointers[1])
        return int(to[0]), int(to[1])


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Library:
    need("gcc")
    return Library(tmp_path_factory.mktemp("fixed"))


def spread(n: int, low: int, high: int) -> Array:
    """Numbers of every size, and both ends."""
    rng = np.random.default_rng(n)
    uniform = rng.integers(low, high, n, endpoint=True)
    small = uniform >> rng.integers(0, int(high).bit_length() + 1, n)
    return np.concatenate([uniform, np.clip(small, low, high), [low, high, max(low, 0)]])


TWINS: list[tuple[str, Callable[..., Array], list[tuple[int, int]]]] = [
    ("sat32", lambda a: fixed.saturate(a), [(-(1 << 62), 1 << 62)]),
    ("sat16", lambda a: fixed.saturate(a, 16), [(-(1 << 31), (1 << 31) - 1)]),
    ("sat8", lambda a: fixed.saturate(a, 8), [(-(1 << 31), (1 << 31) - 1)]),
    ("add", fixed.add, [(-(1 << 31), (1 << 31) - 1), (-(1 << 31), (1 << 31) - 1)]),
    ("decay", lambda a, _, n: fixed.decay(a, n), [(-(1 << 31), (1 << 31) - 1)]),
    ("exp2", fixed.exp2, [(-(1 << 31), (1 << 31) - 1)]),
    ("log2", fixed.log2, [(-5, (1 << 63) - 1)]),
    ("bit_length", fixed.bit_length, [(-5, (1 << 63) - 1)]),
    ("isqrt", fixed.isqrt, [(0, (1 << 62) - 1)]),
    ("divide", fixed.divide, [(-(1 << 31), (1 << 31) - 1), (1, (1 << 31) - 1)]),
]


@pytest.mark.parametrize(("name", "twin", "ranges"), TWINS, ids=[t[0] for t in TWINS])
def test_c_equals_python(
    c: Library, name: str, twin: Callable[..., Array], ranges: list[tuple[int, int]]
) -> None:
    arguments = [spread(3000 + i, *ends) for i, ends in enumerate(ranges)]
    arguments = [np.resize(a, 6001) for a in arguments]
    if name == "decay":
        for n in (0, 1, 6, 15, 31):
            found = c(name, arguments[0], 0, n)
            assert np.array_equal(found, twin(arguments[0], 0, n))
        return
    assert np.array_equal(c(name, *arguments), twin(*arguments))


def test_c_shifts_equal_python(c: Library) -> None:
    wide, narrow = spread(2000, -(1 << 61), 1 << 61), spread(2000, -(1 << 31), (1 << 31) - 1)
    other = np.random.default_rng(1).permutation(narrow)
    for n in range(32):
        assert np.array_equal(c("shift_round", narrow, 0, n), fixed.shift_round(narrow, n))
        assert np.array_equal(c("shift_round64", wide, 0, 2 * n), fixed.shift_round(wide, 2 * n))
        assert np.array_equal(c("ema", narrow, other, n), fixed.ema(narrow, other, n))


@pytest.mark.parametrize("fraction", [0, 4, 10, 14, 16])
def test_c_mean_equals_python(c: Library, fraction: int) -> None:
    total = spread(3000, -(1 << 31), (1 << 31) - 1)
    n = np.resize(spread(2500, 1, (1 << (32 - fraction)) - 1), total.shape)
    n = np.minimum(n, (1 << 31) - 1)
    assert np.array_equal(c("mean", total, n, fraction), fixed.mean(total, n, fraction))


@given(scores=st.lists(INT32, min_size=1, max_size=9))
def test_margin_is_the_lead_of_the_first_of_the_largest(c: Library, scores: list[int]) -> None:
    best, lead = fixed.margin(np.array(scores))
    assert best == scores.index(max(scores))
    rest = [s for i, s in enumerate(scores) if i != best]
    assert lead == min(max(scores) - max(rest), 2**31 - 1) if rest else 2**31 - 1
    assert c.margin(np.array(scores, np.int32)) == (int(best), int(lead))


@given(a=INT32, b=INT32)
def test_a_saturated_sum_is_the_nearest_there_is(a: int, b: int) -> None:
    assert fixed.add(np.array(a), np.array(b)) == min(max(a + b, -(2**31)), 2**31 - 1)


@given(v=st.integers(-(2**61), 2**61), n=st.integers(0, 62))
def test_a_rounding_shift_is_the_nearest_integer_halves_up(v: int, n: int) -> None:
    assert fixed.shift_round(np.array(v), n) == math.floor(Fraction(v, 2**n) + Fraction(1, 2))


@given(v=INT32, n=st.integers(0, 6))
def test_decay_comes_to_rest_at_zero(v: int, n: int) -> None:
    value = np.array(v)
    for _ in range(64 << n):
        after = fixed.decay(value, n)
        assert abs(int(after)) < abs(int(value)) or value == 0
        value = after
        if value == 0:
            break
    assert abs(int(value)) <= 1 << n


@given(x=st.integers(-20 << 16, 16 << 16))
def test_exp2_is_near(x: int) -> None:
    exact = min(2.0 ** (x / 65536) * 65536, 2**32 - 1)
    assert abs(int(fixed.exp2(np.array(x))) - exact) <= max(1, 2e-5 * exact)


@given(x=st.integers(1, 2**62) | st.integers(1, 70000))
def test_log2_is_near(x: int) -> None:
    assert abs(int(fixed.log2(np.array(x))) - math.log2(x) * 65536) <= 3


@given(x=WIDE)
def test_isqrt_is_exact(x: int) -> None:
    assert fixed.isqrt(np.array(x)) == math.isqrt(x)


@given(total=INT32, n=st.integers(1, (1 << 18) - 1))
def test_mean_is_the_floor(total: int, n: int) -> None:
    floor = (total << 14) // n
    assert fixed.mean(np.array(total), n, 14) == min(max(floor, -(2**31)), 2**31 - 1)
