"""What the graph cannot hold of an snnTorch network is refused by the layer's name."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch as snn
import torch
from snntorch import surrogate
from test_snntorch import leaky, network, synaptic
from torch import Tensor, nn

from spikelet.frontends.snntorch import ExportError, export


def change(layer: snn.Leaky, **values: Any) -> snn.Leaky:
    for name, value in values.items():
        setattr(layer, name, value)
    return layer


def chain(second: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), second)


def add_hook(layer: nn.Linear) -> nn.Linear:
    layer.register_forward_hook(lambda module, inputs, output: output * 2)
    return layer


class Doubled(nn.Sequential):
    """Looks like a chain, and is none."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(2 * x)
        return y


class Built(nn.Sequential):
    """A chain that only builds its layers."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 3), leaky())


class Halved(nn.Identity):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def patch_forward(layer: nn.Linear) -> nn.Linear:
    layer.forward = torch.relu  # type: ignore[method-assign, assignment]
    return layer


def hooked_chain() -> nn.Sequential:
    layers = chain(leaky())
    layers.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    return layers


def at_rest(**options: Any) -> snn.Leaky:
    return leaky(threshold=0.0, spike_grad=lambda v: (v >= 0).float(), **options)


def noisy(v: Tensor) -> Tensor:
    return torch.sigmoid(v)


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "graded": (chain(leaky(graded_spikes_factor=2.0)), "layer 1 (Leaky): graded spikes"),
    "learnt graded": (
        chain(leaky(learn_graded_spikes_factor=True)),
        "layer 1 (Leaky): graded spikes",
    ),
    "state_quant": (chain(leaky(state_quant=torch.floor)), "layer 1 (Leaky): state_quant"),
    "inhibition": (chain(change(leaky(), inhibition=True)), "layer 1 (Leaky): inhibition"),
    "reset changed later": (
        chain(change(leaky(), reset_mechanism="zero")),
        "reset_mechanism is 'zero', its stored value 'zero', but it executes 'subtract'",
    ),
    "soft spikes": (chain(leaky(spike_grad=noisy)), "its spike function gives"),
    "spikes that fail": (chain(leaky(spike_grad=surrogate.LSO())), "its spike function fails"),
    "beta a neuron": (chain(leaky(beta=torch.tensor([0.1, 0.2, 0.3]))), "beta has 3 values"),
    "nan beta": (chain(leaky(beta=float("nan"))), "beta holds NaN or infinity in 1 of 1"),
    "negative threshold": (chain(leaky(threshold=-0.5)), "threshold -0.5 is negative"),
    "threshold shape": (chain(leaky(threshold=torch.ones(5))), "threshold has 5 values for 3"),
    "reset to the threshold": (
        chain(at_rest(reset_mechanism="zero", reset_delay=False)),
        "layer 1 (Leaky): a threshold of 0 that fires at 0",
    ),
    "alpha a neuron": (chain(synaptic(alpha=torch.rand(3))), "alpha has 3 values"),
    "nan alpha": (chain(synaptic(alpha=float("nan"))), "alpha holds NaN or infinity in 1 of 1"),
    "RLeaky": (chain(snn.RLeaky(beta=0.9, linear_features=3)), "layer 1 (RLeaky): it is not"),
    "Lapicque": (chain(snn.Lapicque(beta=0.9)), "layer 1 (Lapicque): it is not"),
    "ReLU": (chain(nn.ReLU()), "layer 1 (ReLU): it is not supported here"),
    "convolution": (nn.Sequential(nn.Conv2d(1, 2, 3)), "layer 0 (Conv2d): it is not supported"),
    "two linear": (
        nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), leaky()),
        "layer 0 (Linear): no snn.Leaky or snn.Synaptic follows it",
    ),
    "no linear": (nn.Sequential(leaky()), "layer 0 (Leaky): it has no nn.Linear before it"),
    "ends early": (nn.Sequential(nn.Linear(4, 3)), "layer 0 (Linear): no snn.Leaky or"),
    "sizes": (
        nn.Sequential(nn.Linear(4, 3), leaky(), nn.Linear(5, 2), leaky()),
        "layer 2 (Linear): it takes 5 inputs, but layer 0 in front has 3 outputs",
    ),
    "flatten": (
        nn.Sequential(nn.Flatten(0), nn.Linear(4, 3), leaky()),
        "layer 0 (Flatten): it keeps some dimensions",
    ),
    "hooks": (
        nn.Sequential(add_hook(nn.Linear(4, 3)), leaky()),
        "layer 0 (Linear): it has forward hooks",
    ),
    "own forward of a chain": (
        Doubled(nn.Linear(4, 3), leaky()),
        "layer network (Doubled): it has a forward() of its own",
    ),
    "own forward of a part": (
        nn.Sequential(Doubled(nn.Linear(4, 3)), leaky()),
        "layer 0 (Doubled): it has a forward() of its own",
    ),
    "own forward without effect": (
        nn.Sequential(nn.Linear(4, 3), leaky(), Halved(), nn.Linear(3, 3), leaky()),
        "layer 2 (Halved): it has a forward() of its own",
    ),
    "a forward put in later": (
        nn.Sequential(patch_forward(nn.Linear(4, 3)), leaky()),
        "layer 0 (Linear): it has a forward() of its own",
    ),
    "hooks of a chain": (hooked_chain(), "layer network (Sequential): it has forward hooks"),
    "complex": (
        nn.Sequential(nn.Linear(4, 3, dtype=torch.complex64), leaky()),
        "layer 0 (Linear): its weight is complex",
    ),
    "weight norm": (
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), leaky()),
        "layer 0 (ParametrizedLinear): it is not supported here",
    ),
    "empty": (nn.Sequential(), "the network has no layer"),
    "own forward": (nn.ReLU(), "the network is a ReLU, not a chain of layers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_graph_cannot_hold_is_refused_by_name(case: str) -> None:
    module, text = REFUSED[case]
    with pytest.raises(ExportError) as caught:
        export(module, steps=4)
    assert text in caught.value.what
    assert caught.value.next
    assert caught.value.exit_code == 2


def test_a_class_that_only_builds_a_chain_is_one() -> None:
    assert [node.KIND for node in export(Built(), steps=4).nodes][:2] == ["dense", "lif"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("layer", "part"), [(0, "weight"), (2, "weight"), (2, "bias")])
def test_weights_that_are_not_finite_are_refused_by_name(
    value: float, layer: int, part: str
) -> None:
    layers = network(bias=True)
    getattr(layers[layer], part).data.view(-1)[2] = value
    with pytest.raises(ExportError, match=rf"layer {layer} \(Linear\): {part} holds NaN") as caught:
        export(layers, steps=4)
    assert "learning rate" in caught.value.next


def test_a_loaded_state_with_another_reset_is_refused() -> None:
    layers = chain(leaky(reset_mechanism="subtract"))
    layers.load_state_dict(chain(leaky(reset_mechanism="zero")).state_dict())
    with pytest.raises(ExportError, match="stored value 'zero', but it executes 'subtract'"):
        export(layers, steps=4)


def test_readouts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ExportError, match=r'layer 1 .*"subtract" with the readout "membrane"'):
        export(chain(leaky()), steps=4, readout="membrane")
    with pytest.raises(ExportError, match=r'layer 1 .*the readout is "sum"'):
        export(chain(leaky()), steps=4, readout="sum")
    with pytest.raises(ExportError, match="readout 'loudest' is not known"):
        export(chain(leaky()), steps=4, readout="loudest")  # type: ignore[arg-type]
