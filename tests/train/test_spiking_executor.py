"""The executor that is trained, against what it stands for: the network, and its integer graph."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from spikelet.errors import UsageError
from spikelet.frontends.spiking.encoders import DirectCurrent, Frames
from spikelet.frontends.spiking.lower import Lowered, lower
from spikelet.frontends.spiking.network import Delay, Neurons, Rule, SpikingNetwork
from spikelet.frontends.spiking.simulate import Simulation
from spikelet.graph import Array
from spikelet.graph.ops.lif import COMPARISONS, RESETS, TIMINGS
from spikelet.train.recipe import NARROWEST, Bits
from spikelet.train.spiking import Builder, fit, rounding
from spikelet.train.spiking.delays import arrivals, late_sums, shifted, spread
from spikelet.train.spiking.executor import Executor
from spikelet.train.spiking.neurons import Numbers, Slope, over_time, start, step
from spikelet.train.spiking.parts import DelayPart
from spikelet.train.spiking.rounding import MOST

STEPS, SAMPLES = 6, 20


def image_network() -> SpikingNetwork:
    """Convolutions, pools, a synaptic current, delays, a membrane that is read out."""
    net = Builder((1, 8, 8))
    x = net.lif(net.conv2d(net.input, 4, 3, padding=1), threshold=0.2)
    x = net.conv2d(net.pool(x, 2), 6, 3, padding=1)
    x = net.lif(x, kept=0.9, reset="zero", compare=">", threshold=0.1)
    x = net.linear(net.pool(x, 2, mode="sum"), 12)
    x = net.lif(x, current=0.7, kept=0.8, threshold=0.2)
    x = net.linear(net.delay(x, np.arange(12) % 4), 10)
    return net.network(net.integrators(x, kept=0.95))


def looped_network() -> SpikingNetwork:
    """Neurons that read their own spikes of the step before, and weights that are read out."""
    net = Builder((7,))
    own = net.linear(net.previous("h", (9,)), 9, bias=False, gain=2)
    x = net.add(net.linear(net.input, 9), own)
    x = net.lif(x, kept=np.linspace(0.5, 0.95, 9), threshold=np.linspace(0.08, 0.14, 9), name="h")
    return net.network(net.linear(x, 5))


def late_network() -> SpikingNetwork:
    """A delay a synapse: behind a flattened image, and in front of what is read out."""
    net = Builder((2, 5, 5))
    x = net.flatten(net.lif(net.conv2d(net.input, 3, 3), threshold=0.2))
    steps = torch.randint(0, STEPS + 1, (8, 27)).numpy()
    x = net.lif(net.linear(x, 8, delays=steps, gain=2), kept=0.9, threshold=0.1)
    return net.network(net.integrators(net.linear(x, 4, delays=2), kept=0.95))


def behaviour(network: SpikingNetwork, x: Array) -> dict[str, Array]:
    """Every layer of neurons over time, as the network in real numbers has it; x (T, N, *shape)."""
    simulation = Simulation(network, x.shape[1])
    (name,) = network.inputs
    every = [simulation.step({name: each}) for each in x]
    return {
        layer.name: np.stack([now[layer.name] for now in every])
        for layer in network.layers
        if isinstance(layer, Neurons)
    }


def of_graph(lowered: Lowered, network: SpikingNetwork, x: Array) -> dict[str, Array]:
    """The same as golden computes it, channels first."""
    run = lowered.graph.run({"x": x}, trace=True)
    found = {}
    for layer in network.layers:
        if isinstance(layer, Neurons):
            values = run.trace[lowered.held[layer.name].name]
            found[layer.name] = np.moveaxis(values, -1, 2) if values.ndim == 5 else values
    found["scores"] = run.outputs[lowered.graph.outputs[1]] * lowered.unit
    return found


def rounded(executor: Executor, x: Array, encoder: DirectCurrent) -> tuple[dict[str, Array], int]:
    """What an executor with a grid computes of codes (T or 1, N, *shape), and golden's values that
    differ from it."""
    network, framed = executor.network(), isinstance(encoder, Frames)
    grid = executor.grid
    assert grid is not None
    lowered = lower(
        network, STEPS, encoder, executor.readout,
        narrow=True, units=grid.units, fraction_bits=grid.fraction_bits,
    )  # fmt: skip
    last = np.moveaxis(x, 2, -1) if x.ndim == 5 else x
    golden = of_graph(lowered, network, np.moveaxis(last, 0, 1) if framed else last[0])
    values = executor.values(torch.from_numpy(x.astype(np.float32)) - encoder.zero_point)
    made = {name: values[name].detach().numpy() for name in golden if name != "scores"}
    scores = executor.scores(values[network.output]).detach().numpy()
    differing = sum(
        int((made[name].reshape(golden[name].shape) != golden[name]).sum()) for name in made
    )
    np.testing.assert_allclose(scores, golden["scores"], rtol=1e-5, atol=1e-6)
    return made, differing


CASES = {
    "image": (image_network, DirectCurrent(), "membrane"),
    "looped": (looped_network, Frames(1 / 255, 40), "sum"),
    "late": (late_network, Frames(1 / 255), "membrane"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_computes_the_network(case: str) -> None:
    build, _, readout = CASES[case]
    torch.manual_seed(0)
    network = build()
    executor = Executor(network, STEPS, readout, learn=("leak", "threshold"))  # type: ignore[arg-type]
    x = np.random.default_rng(0).random((STEPS, SAMPLES, *next(iter(network.inputs.values()))))
    wanted = behaviour(executor.network(), x)
    values = executor.double().values(torch.from_numpy(x))
    for name, each in wanted.items():
        np.testing.assert_allclose(values[name].detach().numpy(), each, atol=1e-9)
        assert each.any()


@pytest.mark.parametrize("bits", MOST, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_with_a_grid_it_computes_the_graph(case: str, bits: Bits) -> None:
    """What is trained is what runs: not a spike or membrane of golden's differs."""
    build, encoder, readout = CASES[case]
    torch.manual_seed(1)
    network = build()
    executor = Executor(network, STEPS, readout, learn=("leak", "threshold"))  # type: ignore[arg-type]
    with torch.no_grad():  # what was learned differs between neurons
        for part in executor.neuron_parts().values():
            if part.threshold is not None:
                part.threshold += 0.1 * torch.rand_like(part.threshold)
    grid = rounding.choose(executor.network(), STEPS, encoder, executor.readout, bits)
    executor.grid = grid
    length = STEPS if isinstance(encoder, Frames) else 1
    shape = next(iter(network.inputs.values()))
    x = np.random.default_rng(0).integers(0, 256, (length, SAMPLES, *shape)).astype(np.uint8)
    made, differing = rounded(executor, x, encoder)
    assert differing == 0
    assert all(values.any() for values in made.values())
    for layer in executor.network().layers:  # codes are those of the width
        if layer.name in grid.bits:
            codes = layer.weight / grid.step(layer).reshape(-1, *(1,) * (layer.weight.ndim - 1))  # type: ignore[attr-defined]
            allowed = np.arange(-MOST[bits], MOST[bits] + 1, 2 if bits in rounding.ODD else 1)
            assert np.isin(np.round(codes), allowed).all()


def rules() -> Iterator[Rule]:
    """Every reset, timing and comparison, with and without current and refractory time."""
    for number, (reset, timing, compare) in enumerate(
        itertools.product(RESETS, TIMINGS, COMPARISONS)
    ):
        yield Rule(
            kept=np.linspace(0.3, 1, 12),
            kept_current=np.full(1, 0.6) if number % 3 == 1 else None,
            threshold=np.full(1, 0.3),
            compare=compare,  # type: ignore[arg-type]
            reset=reset,  # type: ignore[arg-type]
            timing=timing,  # type: ignore[arg-type]
            value=np.linspace(-0.1, 0.1, 12),
            gain=np.full(1, 0.8),
            drift=np.full(1, 0.02),
            refractory=2 if number % 4 == 3 else 0,
            initial=0.1,
        )


def test_every_rule_is_computed_as_the_graph_does() -> None:
    torch.manual_seed(0)
    codes = np.random.default_rng(0).integers(0, 256, (STEPS, SAMPLES, 5)).astype(np.uint8)
    encoder = Frames(1 / 255)
    for rule in rules():
        net = Builder((5,))
        x = net.lif(net.linear(net.input, 12))
        network = net.network(x)
        neurons = dataclasses.replace(network.layer(x), rule=rule)
        network = dataclasses.replace(network, layers=(*network.layers[:-1], neurons))
        executor = Executor(network, STEPS, "spike_count")
        real = codes.astype(np.float64) / 255
        wanted = behaviour(executor.network(), real)[x]
        made = executor.double().values(torch.from_numpy(real))[x]
        assert np.array_equal(made.detach().numpy(), wanted), rule
        executor.float().grid = rounding.choose(network, STEPS, encoder, "spike_count", 8)
        _, differing = rounded(executor, codes, encoder)
        assert differing == 0, rule
        assert wanted.any()


@pytest.mark.parametrize("reset", RESETS)
def test_the_quick_pass_has_the_gradient_of_the_steps(reset: str) -> None:
    """Of neurons over all steps at once, whose backward pass is written out."""
    rule = Rule(kept=np.ones(1), reset=reset, compare=">=")  # type: ignore[arg-type]
    torch.manual_seed(0)
    x = torch.rand(STEPS, 4, 3, dtype=torch.float64, requires_grad=True)
    learned = [
        torch.tensor([0.9, 0.5, 1.0], dtype=torch.float64, requires_grad=True),
        torch.tensor([0.6, 0.5, 0.9], dtype=torch.float64, requires_grad=True),
        torch.tensor([0.01, 0.0, 0.02], dtype=torch.float64, requires_grad=True),
    ]
    kept, threshold, drift = learned
    value, gain = torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.8, dtype=torch.float64)
    initial = torch.tensor(0.2, dtype=torch.float64)
    numbers = Numbers(kept, None, gain, drift, threshold, value, initial)
    weight = torch.rand(STEPS, 4, 3, dtype=torch.float64)

    quick = over_time(rule, numbers, x, STEPS, Slope())
    state, every = start(rule, numbers, x[0]), []
    for t in range(STEPS):
        state, spikes = step(rule, numbers, state, x[t], Slope())
        every.append(spikes)
    slow = torch.stack(every)
    assert torch.equal(quick, slow)
    assert 0.1 < float(quick.detach().mean()) < 1
    wanted = torch.autograd.grad((slow * weight).sum(), [x, *learned])
    made = torch.autograd.grad((quick * weight).sum(), [x, *learned])
    for one, other in zip(made, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("kept", "bias"), [(0.9, 0.0), (1.0, 0.3)])
def test_a_long_step_is_several(kept: float, bias: float) -> None:
    """Leaks, delays and biases, where what comes in comes at the end of a long step."""
    net = Builder((3,))
    x = net.lif(net.linear(net.delay(net.input, [0, 4, 8]), 6, bias=False), kept=0.0)
    x = net.linear(net.delay(x, 4), 2)
    network = net.network(net.integrators(x, kept=kept))
    executor = Executor(network, 24, "membrane", learn=["leak"])
    with torch.no_grad():
        executor.parts[x].bias.fill_(bias)
    torch.manual_seed(0)
    long = (torch.rand(6, 5, 3) < 0.5).float()
    short = torch.zeros(6, 4, 5, 3)
    short[:, -1] = long * 4
    wanted = executor(short.flatten(0, 1))
    executor.coarsen(4)
    made = executor(long * 4)
    torch.testing.assert_close(made, wanted)
    assert float(executor.rates["lif2"].detach()) > 0.01
    executor.coarsen(1)
    assert torch.equal(executor(short.flatten(0, 1)), wanted)
    with pytest.raises(ValueError, match="24 steps, 5 of which"):
        executor.coarsen(5)


def test_a_loop_lets_a_share_of_the_gradient_through() -> None:
    """Neurons that keep nothing: the last step knows of the first one by way of the loop alone."""
    net = Builder((1,))
    own = net.linear(net.previous("h", (1,)), 1, bias=False)
    network = net.network(net.lif(net.add(net.input, own), kept=0.0, name="h"))
    executor = Executor(network, 3, "spike_count")

    def gradient(share: float) -> torch.Tensor:
        executor.loop_gradient = share
        x = torch.tensor([0.9, 0.8, 0.7]).reshape(3, 1, 1).requires_grad_()
        last = executor.values(x)["h"][-1]
        assert float(last.detach()) == 0
        torch.autograd.backward(last)
        assert x.grad is not None
        return x.grad.flatten()

    whole, half, none = (gradient(share) for share in (1.0, 0.5, 0.0))
    assert (whole.abs() > 0).all()
    torch.testing.assert_close(half, whole * torch.tensor([0.25, 0.5, 1.0]))
    assert torch.equal(none, whole * torch.tensor([0.0, 0.0, 1.0]))


def test_a_narrow_spread_is_the_delay() -> None:
    x = (torch.rand(9, 5, 4) < 0.4).float()
    delays = torch.tensor([0, 1, 3, 20])
    late = shifted(x, delays)
    torch.testing.assert_close(spread(x, delays.float(), 0.05), late)
    assert torch.equal(late[3:, :, 2], x[:6, :, 2])
    assert not late[:, :, 3].any()


def test_delays_have_a_gradient() -> None:
    """Towards the delay that a target was made with."""
    torch.manual_seed(0)
    x = (torch.rand(40, 8, 1) < 0.2).float()
    target, delay = shifted(x, torch.tensor([7])), torch.tensor([4.0], requires_grad=True)
    optimiser = torch.optim.Adam([delay], 0.3)
    for turn in range(60):
        optimiser.zero_grad()
        loss = ((spread(x, delay, 3.0 * 0.95**turn) - target) ** 2).sum()
        torch.autograd.backward(loss)
        optimiser.step()
    assert abs(delay.item() - 7) < 0.5


def test_delays_of_synapses_have_a_gradient() -> None:
    """Each towards its own, of a target that was made with them."""
    torch.manual_seed(0)
    x = (torch.rand(8, 3, 60) < 0.1).float()
    weight, wanted = torch.ones(2, 3), torch.tensor([[7.0, 2.0, 3.0], [6.0, 5.0, 9.0]])
    target = late_sums(x, weight, None, arrivals(wanted, 0))
    delays = torch.full((2, 3), 4.0, requires_grad=True)
    optimiser = torch.optim.Adam([delays], 0.2)
    for turn in range(120):
        optimiser.zero_grad()
        made = late_sums(x, weight, None, arrivals(delays, 3.0 * 0.97**turn))
        torch.autograd.backward(((made - target) ** 2).sum())
        optimiser.step()
    assert torch.equal(delays.detach().round(), wanted)


def test_a_spike_arrives_once_in_all() -> None:
    """However far it is spread, and nothing comes before it was sent."""
    x = torch.zeros(1, 1, 20)
    x[0, 0, 5] = 1
    for width in (0.0, NARROWEST, 2.0):
        share = arrivals(torch.tensor([[3.45]]), width)
        made = late_sums(x, torch.full((1, 1), 2.0), None, share)[0, 0]
        assert made.sum().item() == pytest.approx(2.0)
        assert not made[:5].any()
        assert int(made.argmax()) == 8


def test_fewer_delays_are_kept_from_epoch_to_epoch() -> None:
    """Many go early; one that is gone does not come back when another becomes 0."""
    shares = [fit.kept_share(0.2, done) for done in (0.0, 0.25, 0.5, 1.0)]
    np.testing.assert_allclose(shares, [1, 0.5375, 0.3, 0.2])
    part = DelayPart(Delay(name="late", inputs=("x",), steps=np.arange(10)), 10, learned=True).times
    for share, kept in ((1.0, range(10)), (0.5, range(5, 10)), (0.3, range(7, 10))):
        part.keep(share)
        assert part.held.nonzero().flatten().tolist() == list(kept)
    with torch.no_grad():
        part.steps[8:] = 0
    part.keep(0.2)
    assert part.clamped().tolist() == [0] * 7 + [7, 0, 0]
    assert 7 in part.held.nonzero()
    assert part.held.sum() == 2
    assert not part.held[:7].any()


def test_layers_that_flow_together_have_the_same_bits() -> None:
    network = looped_network()
    with pytest.raises(UsageError, match="have weights of") as caught:
        rounding.choose(network, STEPS, Frames(), "sum", {"fc1": 4})
    assert "same bits" in caught.value.next
    with pytest.raises(UsageError, match="'fc9', which is not there"):
        rounding.choose(network, STEPS, Frames(), "sum", {"fc9": 4})


@pytest.mark.parametrize("bits", [4, "ternary", 2, 1])
@pytest.mark.parametrize("integrators", [True, False])
def test_classes_are_compared_in_one_unit(bits: Bits, integrators: bool) -> None:
    torch.manual_seed(0)
    net = Builder((12,))
    scores = net.linear(net.lif(net.linear(net.input, 8)), 5)
    network = net.network(net.integrators(scores) if integrators else scores)
    for layer in network.layers:  # classes of very different sizes
        if layer.name == scores:
            layer.weight[:] *= np.logspace(-1, 1, 5)[:, None]
    grid = rounding.choose(network, 4, DirectCurrent(), "membrane" if integrators else "sum", bits)
    assert np.ptp(grid.units[scores]) == 0
