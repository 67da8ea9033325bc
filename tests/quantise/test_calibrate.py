"""Ranges and codes; equalisation and correction of biases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from float_networks import Builder, images, mobile, unequal
from spikelet.errors import UsageError
from spikelet.quantise import (
    METHODS,
    Network,
    Options,
    activation_code,
    calibrate,
    decode,
    drift,
    encode,
    fold,
    quantise,
    run,
    sites,
    weight_code,
)
from spikelet.quantise.calibrate import fake_quantise, integers, reals
from spikelet.quantise.equalise import equalise

ranges = st.floats(-1e6, 1e6, width=32)


@given(low=ranges, high=ranges)
@settings(deadline=None)
def test_a_code_holds_its_range_and_zero(low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    code = activation_code(low, high)
    scale = float(code.scale)
    assert -128 <= code.zero_point <= 127
    assert reals(np.array(code.zero_point, np.int8), code) == 0
    if high - low > 1e-15 and max(-low, high) > 1e-15:
        ends = np.array([min(low, 0), max(high, 0)])
        assert np.all(np.abs(reals(integers(ends, code), code) - ends) <= 0.51 * scale)
        inside = np.linspace(*ends, 33)
        assert np.all(np.abs(reals(integers(inside, code), code) - inside) <= 0.51 * scale)
        assert np.allclose(
            fake_quantise(inside, code), reals(integers(inside, code), code), atol=scale
        )


def test_weights_are_coded_by_channel() -> None:
    weight = np.array([[[1.0, -2.0]], [[0.5, 0.25]], [[0.0, 0.0]]], np.float32)
    assert np.allclose(weight_code(weight).scale, np.array([2, 0.5, 2]) / 127)
    assert np.allclose(weight_code(weight, per_channel=False).scale, 2 / 127)
    assert np.allclose(weight_code(weight * 0).scale, 1 / 127)


def outliers() -> tuple[Network, dict[str, np.ndarray]]:
    b = Builder((1, 4000))
    x = np.random.default_rng(0).normal(0, 1, (8, 4000)).astype(np.float32)
    x[0, 0], x[3, 7] = 40, -20
    return b.finish(b.node("Neg", "input")), {"input": x}


def test_methods_differ_in_what_outliers_do() -> None:
    network, feeds = outliers()
    wide = {m: float(calibrate(network, feeds, m)["input"].scale) * 255 for m in METHODS}
    assert wide["minmax"] == pytest.approx(60, rel=1e-3)
    assert 7 < wide["percentile"] < 10
    percentile = calibrate(network, feeds, "percentile", 99.0)["input"]
    assert float(percentile.scale) * 255 == pytest.approx(2 * 2.33, rel=0.05)
    x = feeds["input"]
    errors = {
        m: float(np.mean((fake_quantise(x, calibrate(network, feeds, m)["input"]) - x) ** 2))
        for m in METHODS
    }
    assert errors["mse"] <= min(errors.values()) * 1.02
    with pytest.raises(UsageError, match=r"guess.*mse"):
        calibrate(network, feeds, "guess")


def test_codes_are_shared_where_operators_keep_them() -> None:
    b = Builder((1, 4, 8, 8))
    conv = b.node("Relu", b.conv("input", 4, 4, (3, 3)))
    pool = b.node("MaxPool", conv, kernel_shape=[2, 2])
    flat = b.node("Reshape", pool, shape=[1, 100])
    gate = b.node("Sigmoid", flat)
    network = b.finish(b.node("Mul", flat, gate), b.node("Tanh", flat))
    found = sites(network)
    assert found == {
        "input": "input", conv: conv, pool: conv, flat: conv, gate: gate,
        **{name: name for name in network.outputs},
    }  # fmt: skip
    codes = calibrate(network, images(network, 3))
    assert set(codes) == set(found)
    assert codes[pool] is codes[conv]
    assert codes[conv].zero_point == -128
    network.codes[conv] = activation_code(0, 9)
    rest = calibrate(network, images(network, 3))
    assert rest[flat] is network.codes[conv]
    assert conv not in rest


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "HardSigmoid"])
def test_small_signals_have_fine_codes_where_there_is_data(op: str) -> None:
    b = Builder((1, 6))
    x = b.node("Mul", "input", b.constant("small", np.array(0.01)))
    shift = b.constant("shift", np.array(-8.0 if op == "Sigmoid" else 0.0))
    y = b.node(op, b.node("Add", x, shift) if op != "HardSigmoid" else x)
    network = b.finish(b.gemm(y, 6, 3))
    feeds = images(network, 40)
    values = run(network, feeds)[y]
    code = calibrate(network, feeds, "minmax")[y]
    span = max(values.max(), 0) - min(values.min(), 0)
    assert float(code.scale) == pytest.approx(span / 255)
    # Without data, the code that TensorFlow Lite has.
    network.codes.update({n: activation_code(-1, 1) for n in network.inputs})
    network.codes[network.outputs[0]] = activation_code(-1, 1)
    for node in network.nodes[:-2]:
        network.codes[node.name] = activation_code(-9, 9)
    fixed = calibrate(network, None)[y]
    wanted = (1 / 128, 0) if op == "Tanh" else (1 / 256, -128)
    assert (float(fixed.scale), fixed.zero_point) == wanted


def test_values_that_are_no_numbers_are_named() -> None:
    b = Builder((1, 4))
    network = b.finish(b.node("Log", "input"))
    with pytest.raises(UsageError, match="log0"):
        calibrate(network, {"input": np.zeros((2, 4), np.float32)})


@pytest.mark.parametrize("seed", [0, 1])
def test_equalisation_keeps_the_function_and_evens_out_channels(seed: int) -> None:
    network = fold(unequal(mobile(seed=seed, head=False), seed))
    even = equalise(network)
    feeds = images(network, 4)
    real, found = run(network, feeds), run(even, feeds)
    name = network.outputs[0]
    np.testing.assert_allclose(found[name], real[name], rtol=1e-3, atol=1e-4)

    def spread(values: dict[str, np.ndarray]) -> float:
        """Of the channels' ranges, largest over median, the worst layer."""
        worst = 0.0
        for node in network.nodes:
            if node.op == "Relu":
                top = values[node.name].max(axis=(0, 2, 3))
                worst = max(worst, float(top.max() / np.median(top)))
        return worst

    assert spread(found) < spread(real) / 5


def test_equalisation_passes_a_flattened_image_and_stops_where_it_must() -> None:
    b = Builder((1, 4, 6, 6))
    x = b.node("MaxPool", b.conv("input", 4, 3, (3, 3)), kernel_shape=[2, 2])
    x = b.gemm(b.node("Relu", b.gemm(b.node("Reshape", x, shape=[1, 27]), 27, 8)), 8, 5)
    network = b.finish(b.gemm(b.node("Sigmoid", x), 5, 4))
    even, feeds = equalise(network), images(network, 5)
    real, found = run(network, feeds), run(even, feeds)
    np.testing.assert_allclose(found[x], real[x], rtol=1e-3, atol=1e-4)
    changed = [
        n for n in network.constants if not np.array_equal(network.constants[n], even.constants[n])
    ]
    assert changed == ["w0", "b0", "w3", "b3", "w5"]


def quality(network: Network, options: Options) -> float:
    """Signal-to-noise ratio of the output on held-out data, dB."""
    found = quantise(network, images(network, 48), options)
    return drift(found, images(network, 48, 7))[-1].snr


def test_equalisation_saves_unequal_channels() -> None:
    network = unequal(mobile(seed=1, head=False), 1)
    without = quality(network, Options(equalise=False, correct=False))
    assert without < 20
    assert quality(network, Options(equalise=True, correct=False)) > without + 12
    assert quality(network, Options()) > 30  # found by itself


def test_channels_of_their_own_scale_save_unequal_weights() -> None:
    b = Builder((1, 4, 8, 8))
    x = b.conv("input", 4, 16, (3, 3))
    b.network.constants["w0"] *= np.logspace(0, -3, 16, dtype=np.float32)[:, None, None, None]
    b.network.constants["b0"] *= np.logspace(0, -3, 16, dtype=np.float32)
    back = b.constant("back", np.logspace(0, 3, 16)[:, None, None])
    network = b.finish(b.node("Mul", b.node("Sigmoid", x), back))
    plain = Options(equalise=False, correct=False)
    whole = Options(equalise=False, correct=False, per_channel=False)

    def weight_error(options: Options) -> float:
        found = quantise(network, images(network, 8), options).network
        weight = found.constants["w0"]
        held = reals(integers(weight, found.codes["w0"]), found.codes["w0"])
        error = np.abs(held - weight).max(axis=(1, 2, 3)) / np.abs(weight).max(axis=(1, 2, 3))
        return float(error.max())

    assert weight_error(plain) < 0.5 / 126
    assert weight_error(whole) > 0.5


@pytest.mark.parametrize("seed", [0, 2, 5])
def test_correction_lowers_the_mean_error_on_held_out_data(seed: int) -> None:
    network = mobile(seed=seed, head=False, width=24)

    def mean_error(correct: bool) -> float:
        options = Options(equalise=False, correct=correct, per_channel=False, method="minmax")
        found = quantise(network, images(network, 64), options)
        held = images(network, 64, 11)
        name = network.outputs[0]
        codes = {found.names["input"]: encode(found, held["input"])}
        integer = decode(found, found.graph.run(codes).outputs[found.names[name]])
        return float(np.abs((integer - run(network, held)[name]).mean(axis=0)).mean())

    assert mean_error(True) < 0.6 * mean_error(False)
