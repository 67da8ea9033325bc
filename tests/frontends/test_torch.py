"""PyTorch itself is the oracle: the network computes what the module does."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikelet.frontends.torch import from_torch
from spikelet.quantise import Network, run
from spikelet.refusal import ImportRefused
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


def agree(module: nn.Module, x: Tensor) -> Network:
    """Every output of the network equals the module's, on each of several samples."""
    network = from_torch(module, x)
    with torch.no_grad():
        expected = module(x)
    expected = expected if isinstance(expected, tuple) else (expected,)
    tensors = run(network, {"x": x.numpy()})
    assert len(network.outputs) == len(expected)
    for name, values in zip(network.outputs, expected, strict=True):
        assert tensors[name].shape == tuple(values.shape)
        np.testing.assert_allclose(tensors[name], values.numpy(), rtol=1e-4, atol=1e-4)
    return network


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: InvertedResidual(4, 3), IMAGE),
        (lambda: BasicBlock(4), IMAGE),
        (lambda: SqueezeExcite(4), IMAGE),
        (ds_cnn, IMAGE),
        (signal_net, SIGNAL),
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.PReLU(4), nn.PReLU()), IMAGE),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 2)), IMAGE),
        (lambda: nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 20)), SIGNAL),
    ],
    ids=["inverted", "resnet", "gate", "dscnn", "signal", "prelu", "weight_norm", "linear"],
)
def test_usual_blocks(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    agree(with_random_statistics(build()), torch.randn(3, *shape))


@pytest.mark.parametrize("function", [functions, moves])
def test_functions_and_moves(function: Callable[[Tensor], Any]) -> None:
    torch.manual_seed(1)
    agree(Call(function), torch.randn(2, *IMAGE) * 2)


ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh),
    *(nn.Sigmoid, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus, nn.Identity, nn.Dropout),
)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_networks_of_any_shape(data: st.DataObject) -> None:
    """Padding, stride, dilation and groups are carried as PyTorch means them."""
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 1000)))
    n = draw(st.sampled_from([1, 2]))
    each = st.lists(st.integers(1, 3), min_size=n, max_size=n).map(tuple)
    kernel, dilation = draw(each), draw(each)
    pads = draw(st.sampled_from(["same", "valid", 0, 1, 2]))
    stride: Any = 1 if pads == "same" else draw(each)
    groups = draw(st.sampled_from([1, 2, 4]))
    conv = (nn.Conv1d, nn.Conv2d)[n - 1](
        4, 8, kernel, stride, pads, dilation, groups, draw(st.booleans())
    )
    window = draw(st.integers(2, 4))
    options: dict[str, Any] = {
        "kernel_size": window,
        "stride": draw(st.integers(1, 3)),
        "padding": draw(st.integers(0, window // 2)),
        "ceil_mode": draw(st.booleans()),
    }
    if draw(st.booleans()):
        pool: nn.Module = (nn.MaxPool1d, nn.MaxPool2d)[n - 1](**options)
    else:
        options["count_include_pad"] = draw(st.booleans())
        pool = (nn.AvgPool1d, nn.AvgPool2d)[n - 1](**options)
    norm = (nn.BatchNorm1d, nn.BatchNorm2d)[n - 1](8)
    activation = draw(st.sampled_from(ACTIVATIONS))()
    shape = draw(st.lists(st.integers(20, 24), min_size=n, max_size=n))
    layers = [conv, *draw(st.permutations([norm, activation, pool]))]
    x = torch.randn(2, 4, *shape)
    last = nn.Linear(int(nn.Sequential(*layers).eval()(x)[0].numel()), 3)
    agree(with_random_statistics(nn.Sequential(*layers, nn.Flatten(), last)), x)


def test_names_come_from_the_module() -> None:
    block = BasicBlock(4).eval()
    network = agree(block, torch.randn(2, *IMAGE))
    names = [node.name for node in network.nodes]
    assert names == [
        *("conv1", "bn1", "relu", "conv2", "bn2"),
        *("downsample_0", "downsample_1", "add", "relu_2"),
    ]
    assert {k for k in network.constants if k.startswith("conv1")} == {"conv1.weight"}
    np.testing.assert_array_equal(network.constants["conv1.weight"], block.conv1.weight.detach())
    assert network.nodes[5].source == "downsample.0"
    numbered = from_torch(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.zeros(1, 3))
    assert [node.name for node in numbered.nodes] == ["linear_0", "relu_1"]


def test_the_module_is_left_as_it_was() -> None:
    module = with_random_statistics(ds_cnn())
    module.train()
    module[4].eval()
    before = copy.deepcopy(module.state_dict())
    network = from_torch(module, torch.randn(2, *IMAGE))
    assert [m.training for m in module] == [i != 4 for i in range(len(module))]
    for name, values in module.state_dict().items():
        assert torch.equal(values, before[name])
    network.constants["conv2d_0.weight"][:] = 0
    assert not torch.equal(module[0].weight, torch.zeros_like(module[0].weight))


def test_several_inputs_have_the_names_of_forwards_arguments() -> None:
    class Two(nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return left * right + 1

    network = from_torch(Two(), (np.zeros((2, 3)), torch.zeros(2, 3)))
    assert network.inputs == {"left": (1, 3), "right": (1, 3)}
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    found = run(network, {"left": a, "right": b})[network.outputs[0]]
    np.testing.assert_allclose(found, a * b + 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("module", "what", "supported"),
    [
        (nn.Sequential(nn.ConvTranspose2d(4, 2, 2)), "node '0' (aten.conv_transpose2d", "nearest"),
        (nn.Sequential(nn.LayerNorm(12)), "node '0' (aten.layer_norm", "batch norm is supported"),
        (
            nn.Sequential(nn.Flatten(2), nn.LSTM(108, 3)),
            "node '1' (aten.lstm",
            "from a .tflite file",
        ),
        (nn.Sequential(nn.LogSoftmax(1)), "node '0' (aten.log_softmax", "leave it out"),
        (
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear")),
            "scale_factors=[2.0, 2.0]",
            "mode='nearest' is supported",
        ),
        (
            nn.Sequential(nn.AdaptiveAvgPool2d((2, 3))),
            "output_size=[2, 3]): windows of unequal size from [9, 12] to [2, 3]",
            "an output size that divides the input's",
        ),
        (Call(lambda x: x @ x.transpose(2, 3)), "its other is computed from the input", "constant"),
        (Call(lambda x: x.permute(1, 0, 2, 3)), "it moves the batch axis", "other axes may move"),
        (Call(lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect")), "it repeats values", "constant"),
        (Call(lambda x: F.softplus(x, beta=2)), "no plain softplus", "beta=1"),
        (Call(lambda x: torch.where(x > 0, x, -x)), "(aten.gt", "supported are convolutions"),
        (Call(lambda x: x if x.sum() > 0 else -x), "cannot be traced", "module.eval()(example)"),
        (Call(lambda x: x.reshape(3, 5)), "cannot be traced, RuntimeError", "torch.export"),
        (Call(lambda x: (x.relu(), torch.zeros(1, 3))), "output 1 does not depend", "return"),
        (Call(lambda x: x), "output 0 is the input itself", "return"),
        (nn.Embedding(5, 3), "cannot be traced", "real numbers"),
        (nn.Linear(12, 3).double(), "parameters are torch.float64", "module.float()"),
        (nn.BatchNorm2d(4, track_running_stats=False), "no running mean", "track_running_stats"),
        (snn.Leaky(0.9), "spiking one (Leaky)", "options=spikelet.Spiking(steps=...)"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    module: nn.Module, what: str, supported: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ImportRefused) as caught:
        from_torch(module, torch.randn(2, *IMAGE))
    assert capfd.readouterr() == ("", "")  # the error says all
    assert what in caught.value.what
    assert supported in caught.value.next
    assert caught.value.exit_code == 2


def test_a_refusal_names_the_line_of_python() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cumsum(x, dim=1)  # this line

    with pytest.raises(ImportRefused, match=r"test_torch.py, line \d+: return torch.cumsum"):
        from_torch(nn.Sequential(nn.ReLU(), Odd()), torch.randn(2, 3))


def test_an_example_that_is_none_is_refused() -> None:
    with pytest.raises(ImportRefused, match="batch axis is missing"):
        from_torch(nn.Linear(3, 2), torch.zeros(3))
    with pytest.raises(ImportRefused, match=r"module is a dict, expected a torch\.nn\.Module"):
        from_torch({"weight": 1}, torch.zeros(1, 3))  # type: ignore[arg-type]
    with pytest.raises(ImportRefused, match="example is a str"):
        from_torch(nn.Linear(3, 2), "x")  # type: ignore[arg-type]


def test_spikelet_needs_no_pytorch_until_it_exports() -> None:
    code = "import sys, spikelet, spikelet.quantise; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
