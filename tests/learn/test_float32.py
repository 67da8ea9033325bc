"""Floating point of the learners: exact fused multiply-add, exp and log, the same bits in C."""

from __future__ import annotations

import ctypes
import subprocess
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelet.graph import Array
from spikelet.learn.numbers import float32
from spikelet.paths import firmware_dir
from support import need

HARNESS = """
#include "learn/float32.h"
void fma_all(uint32_t n, const float *a, const float *b, const float *c, float *to) {
    for (uint32_t i = 0; i < n; i++) {
        to[i] = spk_fma(a[i], b[i], c[i]);
    }
}
void exp_all(uint32_t n, const float *x, float *to) {
    for (uint32_t i = 0; i < n; i++) {
        to[i] = spk_exp(x[i]);
    }
}
void log_all(uint32_t n, const float *x, float *to) {
    for (uint32_t i = 0; i < n; i++) {
        to[i] = spk_log(x[i]);
    }
}
void to_half_all(uint32_t n, const float *x, uint16_t *to) {
    for (uint32_t i = 0; i < n; i++) {
        to[i] = spk_to_half(x[i]);
    }
}
void from_half_all(uint32_t n, const uint16_t *x, float *to) {
    for (uint32_t i = 0; i < n; i++) {
        to[i] = spk_from_half(x[i]);
    }
}
"""


@pytest.fixture(scope="module", params=["host", "integers"])
def kernels(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ctypes.CDLL:
    """The C header in a library: as this host has it, and as a core without FPU has it."""
    need("gcc")
    folder = tmp_path_factory.mktemp("float32")
    source = folder / "harness.c"
    source.write_text(HARNESS, encoding="utf-8")
    library = folder / "harness.so"
    soft = [] if request.param == "host" else ["-U__x86_64__", "-U__FMA__"]
    subprocess.run(
        [
            "gcc", "-std=c11", "-O2", "-ffreestanding", "-ffp-contract=off", "-fPIC", "-shared",
            *soft, f"-I{firmware_dir()}", str(source), "-o", str(library),
        ],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(library))


def call(function: ctypes._NamedFuncPointer, dtype: type, *arrays: Array) -> Array:
    """What a function of the harness writes."""
    to = np.zeros(len(arrays[0]), dtype)
    function(len(to), *(ctypes.c_void_p(a.ctypes.data) for a in (*arrays, to)))
    return to


def round_exactly(value: Fraction) -> np.float32:
    """The nearest float32, ties to even, from the definition."""
    if value == 0:
        return np.float32(0)
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent += 0 if Fraction(2) ** exponent <= size else -1
    unit = Fraction(2) ** max(exponent - 23, -149)
    below = size // unit
    rest = size / unit - below
    below += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1)
    return np.float32(float(below * unit) * (1 if value > 0 else -1))


def numbers(rng: np.random.Generator, bits: int, count: int, spread: int) -> Array:
    """Finite float32 with few significant bits: ties and cancellations are frequent."""
    m = rng.integers(1, 1 << bits, count) * rng.choice([-1, 1], count)
    return np.ldexp(m / (1 << bits), rng.integers(-spread - 20, spread, count)).astype(np.float32)


def triples(seed: int, bits: int, spread: int, count: int) -> tuple[Array, Array, Array]:
    """Factors and an addend that is near the product, or far from it."""
    rng = np.random.default_rng(seed)
    a, b = numbers(rng, bits, count, spread), numbers(rng, bits, count, spread)
    near = (a.astype(np.float64) * b).astype(np.float32)
    c = np.ldexp(near, rng.integers(-30, 15, count)).astype(np.float32)
    c = np.where(rng.random(count) < 0.3, -near, c)
    c[:3], a[3:5], b[5:6] = 0, 0, -0.0
    return a, b, c


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 8, 13, 24]), st.sampled_from([3, 20, 50]))
@settings(max_examples=40, deadline=None)
def test_fma_is_rounded_once(seed: int, bits: int, spread: int) -> None:
    a, b, c = triples(seed, bits, spread, 60)
    found = float32.fma(a, b, c)
    for x, y, z, r in zip(a, b, c, found, strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        assert round_exactly(exact) == r, (x, y, z)


def test_a_step_that_a_double_rounds_twice() -> None:
    """A rest of 2^-54 below half a unit is lost in a double, and the tie then goes up."""
    a = np.float32([1 + 2.0**-15, 1.0])[:, None]
    b = np.float32([2.0**-24 * (1 - 2.0**-15), 0.5])[:, None]
    start = np.float32([1 + 2.0**-23])
    twice = (a[0].astype(np.float64) * b[0] + start).astype(np.float32)
    assert twice[0] == np.float32(1 + 2.0**-22)
    assert float32.fma(a[0], b[0], start)[0] == start[0]
    assert float32.chain(start, a, b)[0] == np.float32(1.5 + 2.0**-23)  # and what follows it


def test_infinite_sums_beside_such_a_step_stay_infinite() -> None:
    a = np.float32([1 + 2.0**-15, 1.0])[:, None]
    b = np.float32([2.0**-24 * (1 - 2.0**-15), 0.5])[:, None]
    start = np.float32([1 + 2.0**-23, -np.inf, np.inf, np.nan])
    found = float32.chain(start, a, b)
    assert np.array_equal(found, np.float32([1.5 + 2.0**-23, -np.inf, np.inf, np.nan]), True)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([3, 24]))
@settings(max_examples=40, deadline=None)
def test_a_chain_is_its_steps(seed: int, steps: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    a = numbers(rng, bits, steps * 5, 4).reshape(steps, 5)
    b = numbers(rng, bits, steps, 4).reshape(steps, 1)
    start = numbers(rng, bits, 5, 4)
    acc = start
    for k in range(steps):
        acc = float32.fma(a[k], b[k], acc)
    assert np.array_equal(float32.chain(start, a, b), acc)


@pytest.mark.parametrize(("bits", "spread"), [(3, 3), (8, 20), (24, 3), (24, 20), (24, 50)])
def test_fma_in_c_equals_golden(kernels: ctypes.CDLL, bits: int, spread: int) -> None:
    a, b, c = triples(bits + spread, bits, spread, 40_000)
    expected = float32.fma(a, b, c)
    found = call(kernels.fma_all, np.float32, a, b, c)
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))


def test_exp_and_log_in_c_equal_golden_and_are_accurate(kernels: ctypes.CDLL) -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(-90, 89, 20_000), [0, -0.0, -87, 88, 1e9, -1e9]])
    x = x.astype(np.float32)
    found = call(kernels.exp_all, np.float32, x)
    assert np.array_equal(found, float32.exp(x))
    inside = np.abs(x) < 86
    true = np.exp(x[inside].astype(np.float64))
    assert np.max(np.abs(found[inside] - true) / np.spacing(true.astype(np.float32))) < 1.5
    x = np.exp(rng.uniform(-80, 80, 20_000)).astype(np.float32)
    x = np.concatenate([x, rng.uniform(0.5, 2, 20_000).astype(np.float32), np.float32([1])])
    found = call(kernels.log_all, np.float32, x)
    assert np.array_equal(found.view(np.uint32), float32.log(x).view(np.uint32))
    true = np.log(x.astype(np.float64))
    ulp = np.spacing(np.maximum(np.abs(true), 2.0**-20).astype(np.float32))
    assert np.max(np.abs(found - true) / ulp) < 2.5


def test_halves_in_c_equal_numpy(kernels: ctypes.CDLL) -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    finite = every[np.isfinite(every.view(np.float16))]
    wide = finite.view(np.float16).astype(np.float32)
    found = call(kernels.from_half_all, np.float32, finite)
    assert np.array_equal(found.view(np.uint32), wide.view(np.uint32))
    # Between two halves, exactly in the middle, and far outside.
    beside = np.concatenate([np.nextafter(wide, np.float32(s)) for s in (-np.inf, np.inf)])
    middle = (wide[:-1] + wide[1:]) / 2
    x = np.concatenate([wide, beside, middle, np.float32([1e9, -1e9, 65519, 65520, 1e-9])])
    x = np.ascontiguousarray(x, np.float32)
    found_half = call(kernels.to_half_all, np.uint16, x)
    assert np.array_equal(found_half, float32.to_half(x).view(np.uint16))
