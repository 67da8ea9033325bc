"""Training with rounding sees what the integer graph computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from float_networks import Builder
from spikelet.errors import UsageError
from spikelet.frontends.torch import from_torch
from spikelet.graph import Array
from spikelet.quantise import Code, Network, Node, decode, encode, quantise, run
from spikelet.train.qat import QatNetwork, Range, _Round, code_of
from torch_modules import (
    IMAGE,
    SIGNAL,
    BasicBlock,
    Call,
    InvertedResidual,
    SqueezeExcite,
    ds_cnn,
    functions,
    moves,
    signal_net,
    with_random_statistics,
)

SAMPLES = 128


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As training does: the layers are small, a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def qat_of(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> QatNetwork:
    """A module's network with rounding, its weights and ranges moved as training does."""
    torch.manual_seed(0)
    x = torch.randn(SAMPLES, *shape)
    qat = QatNetwork(from_torch(with_random_statistics(build()), x), {"x": x.numpy()})
    with torch.no_grad():
        for parameter in qat.parameters():
            if parameter.requires_grad:
                spread = parameter.abs().mean() if parameter.dim() > 1 else 0.1
                parameter.add_(0.05 * spread * torch.randn_like(parameter))
    return qat


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.5), (-1.0, 1.5)])
def test_the_gradient_of_rounding_is_that_of_a_learned_step(low: float, high: float) -> None:
    """Esser et al.: d/ds of s * clip(round(x / s)) is the code outside, and its error inside."""
    torch.manual_seed(0)
    x, weights = 2 * torch.randn(500), torch.randn(500)
    ends = torch.tensor([low, high], requires_grad=True)
    values = x.clone().requires_grad_()
    (_Round.apply(values, ends[0], ends[1]) * weights).sum().backward()
    scale, zero = (v.double() for v in code_of(*ends.detach()))
    codes = (x.double() / scale + zero).round().clamp(-128, 127) - zero
    above, below = (x / scale + zero > 127.5), (x / scale + zero < -128.5)
    inside = ~(above | below)
    assert torch.equal(values.grad, torch.where(inside, weights, 0.0))
    step = float((weights * (codes - x.double() / scale))[inside].sum()) / 255
    wanted = [float(weights[below].sum()) - step, float(weights[above].sum()) + step]
    assert ends.grad is not None
    np.testing.assert_allclose(ends.grad.numpy(), wanted, rtol=1e-4, atol=1e-4)


class Prelu(nn.Module):
    """A slope a channel, and a table that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3)
        self.prelu = nn.PReLU(6)
        self.table = nn.Parameter(torch.randn(6, 1, 10))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.prelu(self.conv(x)) + self.table, x[:, :, 2:, 2:]], dim=1)


# With the shares of outputs that are within a code, and the same code, in training and graph. The
# gate multiplies what a mean over the image rounds twice.
NETS = [
    pytest.param(lambda: InvertedResidual(4, 3), IMAGE, 1.0, 0.99, id="inverted"),
    pytest.param(lambda: BasicBlock(4), IMAGE, 0.998, 0.99, id="resnet"),
    pytest.param(lambda: SqueezeExcite(4), IMAGE, 0.98, 0.95, id="gate"),
    pytest.param(ds_cnn, IMAGE, 1.0, 0.98, id="dscnn"),
    pytest.param(signal_net, SIGNAL, 0.99, 0.95, id="signal"),
    pytest.param(Prelu, IMAGE, 0.99, 0.98, id="prelu"),
]


@pytest.mark.parametrize(("build", "shape", "near", "equal"), NETS)
def test_what_was_trained_is_what_is_exported(
    build: Callable[[], nn.Module], shape: tuple[int, ...], near: float, equal: float
) -> None:
    """Every weight is the same integer, every output within a code, in all but few the same."""
    qat = qat_of(build, shape)
    network = qat.to_network()
    quantised = quantise(network, None)
    exported = [v for k, v in quantised.graph.constants().items() if k.endswith(".weight")]
    assert len(exported) == len(qat.weights)
    for name, codes in zip(qat.weights, exported, strict=True):
        scale = network.codes[name].scale
        trained = qat.round_weight(name)[0].detach().numpy()
        ints = np.rint(trained / scale.reshape(-1, *(1 for _ in trained.shape[1:])))
        np.testing.assert_array_equal(np.sort(ints.ravel()), np.sort(codes.ravel()))
        assert np.abs(ints).max() == 127
    x = torch.randn(SAMPLES, *shape)
    with torch.no_grad():
        trained = qat(x).numpy()
    output = network.outputs[0]
    graph = quantised.graph
    run_ = graph.run({"x": encode(quantised, x.numpy())})
    deployed = decode(quantised, run_.outputs[graph.outputs[0]])
    step = float(quantised.network.codes[qat.sites[output]].scale)
    codes_apart = np.abs(trained - deployed) / step
    assert np.mean(codes_apart < 1.5) >= near
    assert np.mean(codes_apart < 0.5) >= equal
    same = trained.reshape(SAMPLES, -1).argmax(1) == deployed.reshape(SAMPLES, -1).argmax(1)
    assert same.mean() >= 0.95


@pytest.mark.parametrize(("build", "shape"), [net.values[:2] for net in NETS[:-1]])
def test_without_rounding_it_is_the_module(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    module = with_random_statistics(build())
    x = torch.randn(5, *shape)
    qat = QatNetwork(from_torch(module, x), {"x": x.numpy()})
    qat.rounding = False
    with torch.no_grad():
        np.testing.assert_allclose(qat(x).numpy(), module(x).numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("function", [functions, moves])
def test_operators_mean_the_same_in_training(function: Callable[[Tensor], Tensor]) -> None:
    """PyTorch's operators of the network against its meaning in numpy."""
    torch.manual_seed(3)
    x = torch.randn(2, *IMAGE)
    network = from_torch(Call(function), x)
    qat = QatNetwork(network, {"x": x.numpy()})
    qat.rounding = False
    with torch.no_grad():
        found = qat.tensors(x)
    expected = run(network, {"x": x.numpy()})
    for name in network.outputs:
        np.testing.assert_allclose(found[name].numpy(), expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("ConvTranspose", {"strides": [2, 3], "pads": [1, 0, 0, 2], "output_padding": [1, 0]}),
        ("Gather", {"axis": 2, "indices": [3, 0, 0]}),
        ("ReduceMax", {"axes": [1, 3], "keepdims": 0}),
        ("ReduceMin", {"axes": [2], "keepdims": 1}),
    ],
)
def test_operators_that_no_module_is_traced_to(op: str, attributes: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (3, *IMAGE)).astype(np.float32)
    b = Builder((1, *IMAGE))
    weights = [b.constant("w", rng.normal(0, 1, (5, IMAGE[0], 2, 4)))]
    network = b.finish(
        b.node(op, "input", *(weights if op == "ConvTranspose" else []), **attributes)
    )
    qat = QatNetwork(network, {"input": x})
    qat.rounding = False
    with torch.no_grad():
        found = qat(torch.from_numpy(x)).numpy()
    expected = run(network, {"input": x})[network.outputs[0]]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert (len(qat.weights) == 1) == (op == "ConvTranspose")


def test_the_gradient_of_a_range_is_that_of_rounding_straight_through() -> None:
    torch.manual_seed(0)
    x = torch.randn(4000, dtype=torch.float64)
    weight = torch.randn_like(x)

    def straight_through(v: Tensor, low: Tensor, high: Tensor) -> Tensor:
        scale = (high - low) / 255
        zero = -128 - low / scale
        zero = zero + (zero.round() - zero).detach()
        codes = v / scale + zero
        codes = codes + (codes.round() - codes).detach()
        return (codes.clamp(-128, 127) - zero) * scale

    def gradients(rounding: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        leaves = [x.clone().float() if rounding is not straight_through else x.clone()]
        leaves += [torch.tensor(v, dtype=leaves[0].dtype) for v in (-0.8, 1.7)]
        for leaf in leaves:
            leaf.requires_grad_()
        torch.autograd.backward((rounding(*leaves) * weight.to(leaves[0].dtype)).sum())
        return tuple(leaf.grad.double() for leaf in leaves if leaf.grad is not None)

    from spikelet.train.qat import _Round

    found, expected = gradients(_Round.apply), gradients(straight_through)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    # the reference's zero point moves with the range, by less than a code
    for a, b in zip(found[1:], expected[1:], strict=True):
        assert abs(a - b) < 0.02 * abs(b) + 0.5


def test_a_range_keeps_zero_a_code_and_its_signs() -> None:
    held = Range(Code(np.float32(0.02)[...], -128))
    with torch.no_grad():
        held.growth.copy_(torch.tensor([5.0, -1.0]))
    code = held.code()
    assert code.zero_point == -128
    assert code.scale == pytest.approx(0.02 * np.exp(-1), rel=1e-6)
    scale, zero = code_of(torch.tensor(-1.0), torch.tensor(3.0))
    assert (float(scale), int(zero)) == (pytest.approx(4 / 255), -64)
    assert held(torch.zeros(1)).item() == 0.0


def test_training_lowers_the_loss_and_moves_ranges() -> None:
    qat = qat_of(ds_cnn, IMAGE)
    x, y = torch.randn(SAMPLES, *IMAGE), torch.randint(0, 5, (SAMPLES,))
    before = {k: v.code() for k, v in enumerate(qat.ranges) if isinstance(v, Range)}
    optimiser = torch.optim.AdamW(qat.parameter_groups(1e-2), 2e-2)
    losses = []
    for _ in range(30):
        loss = nn.functional.nll_loss(torch.log(qat(x) + 1e-3), y)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1
    after = {k: v.code() for k, v in enumerate(qat.ranges) if isinstance(v, Range)}
    moved = [k for k in after if after[k].scale != before[k].scale]
    # not the input's, nor softmax's: what they hold is known
    assert moved == [k for k in after if k not in (qat.index["x"], len(after) - 1)]


def test_a_dead_channel_keeps_its_bias() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 3, 1)
    with torch.no_grad():
        conv.weight[1] = 0
        conv.bias[1] = 0.7
    x = torch.rand(16, *IMAGE)
    qat = QatNetwork(from_torch(conv.eval(), x), {"x": x.numpy()})
    quantised = quantise(qat.to_network(), None)
    codes = encode(quantised, x.numpy())
    found = decode(quantised, quantised.graph.run({"x": codes}).outputs[quantised.graph.outputs[0]])
    np.testing.assert_allclose(found[:, 1], 0.7, atol=0.01)


def test_an_operator_that_cannot_be_trained_is_named() -> None:
    nodes = [Node("Scan", "odd", ("x",), {}, "file/odd")]
    network = Network("n", {"x": (1, 3)}, ["odd"], nodes)
    feeds: dict[str, Array] = {"x": np.zeros((2, 3), np.float32)}
    with pytest.raises(UsageError, match=r"file/odd|Scan"):
        QatNetwork(network, feeds)
