"""A PyTorch program with spiking neurons as a spiking network: read from what it does when it runs.

The program may be a module with the loop over time inside, a module of one step, whether it keeps
its state or is given it, a Sequential, or a function `step(x, state)` that returns an output and
the next state. It is executed on samples, in float64 where it is a module, and the network that was
read is executed beside it: not a single spike of any layer may differ.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spikelet.frontends.spiking.calls import Builder, is_layer
from spikelet.frontends.spiking.framework import framework_of, frameworks
from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.frontends.spiking.simulate import Simulation
from spikelet.frontends.spiking.tape import Tape
from spikelet.graph import Array
from spikelet.refusal import ImportRefused

Program = nn.Module | Callable[..., Any]
READ_SAMPLES = 16  # that a program is run on to be read


@dataclass(frozen=True)
class Read:
    """What was read of a program.

    Attributes:
        network: the network.
        readout: what its output is: `spike_count`, `membrane` or `sum`.
        spikes: of each layer of neurons that spikes, as the program computed them, (T, N, *shape);
            the network has the same.
    """

    network: SpikingNetwork
    readout: Literal["spike_count", "membrane", "sum"]
    spikes: dict[str, Array]


def read(
    program: Program,
    samples: Tensor | Array,
    steps: int | None = None,
    name: str = "snn",
    *,
    per_step: bool = False,
) -> Read:
    """The spiking network that a program computes.

    Args:
        program: see above; a module is copied, and left as it was.
        samples: (N, *shape) real values, the same in every step; or (T, N, *shape).
        steps: T; of a program with its own loop it may be left out.
        name: of the network.
        per_step: samples have an axis of time in front.

    Raises:
        ImportRefused: names the layer or the call that has no counterpart.
    """
    x = torch.as_tensor(samples)
    network: nn.Module | None = None
    modules: list[nn.Module]
    if isinstance(program, nn.Module):
        network = copy.deepcopy(program, _states(program)).eval()
        modules = [network]
    else:
        modules = list(_modules(program, x[0] if per_step else x))
    with _in_double(modules):
        for module in modules:
            for framework in frameworks():
                if framework.prepare is not None:
                    framework.prepare(module)
        run = _Run(network or program, modules, x.double(), steps, per_step)
        outputs = run.execute()
    builder = Builder(run.tape, run.x, run.steps, per_step, name)
    output, readout = builder.read(outputs)
    made = SpikingNetwork(name, builder.inputs, builder.in_order(), output)
    spikes = builder.spikes()
    replay(made, run.x.double().numpy(), spikes, run.steps, per_step)
    return Read(made, readout, spikes)


def _states(program: nn.Module) -> dict[int, Any]:
    """Copies of states that training left in modules, which are no leaves, by what they are of."""
    kept = [value for m in program.modules() for value in (*vars(m).values(), *m.buffers(False))]
    return {
        id(value): value.detach().clone()
        for value in kept
        if isinstance(value, torch.Tensor) and value.grad_fn is not None
    }


def replay(
    network: SpikingNetwork, x: Array, spikes: dict[str, Array], steps: int, per_step: bool
) -> None:
    """Refuse a network with a spike that differs from the program's; the error names the layer."""
    count = x.shape[1] if per_step else len(x)
    simulation = Simulation(network, count)
    ((name, shape),) = network.inputs.items()
    for t in range(steps):
        seen = (x[t] if per_step else x).reshape(count, *shape)
        made = simulation.step({name: seen})
        for layer, wanted in spikes.items():
            other = int((made[layer].reshape(wanted[t].shape) != wanted[t]).sum())
            if other:
                raise ImportRefused(
                    f"layer {network.layer(layer).called}: {other} of {wanted[t].size} spikes of "
                    f"step {t} are not those of the module itself",
                    "a layer or a class that was changed, or a loop that is not the same each step",
                    "give the layers in a chain, or report this with the network",
                )


def _modules(program: Program, x: Tensor) -> set[nn.Module]:
    """The layers that a function calls: they lie outside of it."""
    tape = Tape(None, is_layer, double=False)
    run = _Run(program, [], x, 1, per_step=False)
    run.tape = tape
    run.call(x, *(None,) * (_takes(program) - 1))
    return {call.what for call in tape.calls if isinstance(call.what, nn.Module)}


@contextmanager
def _in_double(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within it all parameters are float64 and nothing is trained; then they are as before."""
    every = {part for module in modules for part in module.modules()}
    kept = [
        (part, part.training, {k: v.data for k, v in part.named_parameters(recurse=False)},
         dict(part._buffers))
        for part in every
    ]  # fmt: skip
    try:
        for part in every:
            part.double()
            part.training = False
        yield
    finally:
        for part, training, parameters, buffers in kept:
            part.training = training
            part._buffers.update(buffers)
            for name, values in parameters.items():
                part.get_parameter(name).data = values


class _Run:
    """One execution of a program, recorded."""

    def __init__(
        self,
        program: Program,
        modules: list[nn.Module],
        x: Tensor,
        steps: int | None,
        per_step: bool,
    ) -> None:
        self.program, self.modules, self.x = program, modules, x
        self.network = program if isinstance(program, nn.Module) else None
        self.given, self.per_step = steps, per_step
        self.tape = Tape(self.network, is_layer)
        self.steps = 0

    def execute(self) -> list[Any]:
        """What the program answers: one value, or one a step; `steps` is then known."""
        self._reset()
        if self.network is None and _takes(self.program) > 1:
            return self._loop(self._step_function)
        try:
            first = self.call(self.x)
        except ImportRefused:
            if not self.per_step:
                raise
            return self._stepped()  # a step's neurons may not stand an axis of time
        turns = self._turns()
        if turns > 1:  # it has a loop of its own
            if self.given not in (None, turns):
                raise ImportRefused(
                    f"the network runs {turns} steps a call, and steps is {self.given}",
                    next=f"give steps={turns}, or leave it out",
                )
            self.steps = turns
            return [first]
        return self._stepped()

    def _stepped(self) -> list[Any]:
        """What a program answers in each step that runs one a call."""
        self.tape = Tape(self.network, is_layer)
        self._reset()
        outputs = self._loop(self._step_module)
        self._turns()
        return outputs

    def _loop(self, step: Callable[[Tensor, Any], tuple[Any, Any]]) -> list[Any]:
        if self.given is None:
            raise ImportRefused(
                "a call of the network is one step, and their number is not known",
                next="give steps=",
            )
        self.steps = self.given
        state, outputs = None, []
        for t in range(self.steps):
            x = self.x[t] if self.per_step else self.x
            output, state = step(x, state)
            outputs.append(output)
        return outputs

    def _step_function(self, x: Tensor, state: Any) -> tuple[Any, Any]:
        answer = self.call(x, state)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ImportRefused(
                f"the step returned a {type(answer).__name__}, expected (output, state)",
                next="write step(x, state), which returns an output and the next state",
            )
        return answer

    def _step_module(self, x: Tensor, state: Any) -> tuple[Any, Any]:
        if _takes(self.program) < 2:
            answer = self.call(x)
            return answer, None
        answer = self.call(x, *(state or ()))
        if not isinstance(answer, tuple):
            return answer, None
        room = _takes(self.program) - 1
        return answer[0], (answer[1:] if room >= len(answer) - 1 else None)

    def call(self, *arguments: Any) -> Any:
        """What the program answers, recorded."""
        try:
            with self.tape.recording():
                return self.program(*arguments)
        except ImportRefused:
            raise
        except Exception as e:
            shapes = ", ".join(str(tuple(a.shape)) for a in arguments if isinstance(a, Tensor))
            raise ImportRefused(
                f"the network failed on samples {shapes}, {type(e).__name__}: {e}",
                "samples of another shape, or a batch of another size than it is written for",
                "give samples as you train with them, a whole batch where its size is fixed",
            ) from e

    def _turns(self) -> int:
        """How often each layer of neurons was called, which is the same for all."""
        turns: dict[nn.Module, int] = {}
        for call in self.tape.calls:
            if isinstance(call.what, nn.Module) and framework_of(call.what):
                turns[call.what] = call.turn + 1
        if not turns:
            raise ImportRefused(
                "the network called no neurons that are known",
                next="supported are "
                + "; ".join(f"{f.name}: {f.supported()}" for f in frameworks()),
            )
        if len(set(turns.values())) > 1:
            counts = {self.tape.name_of(layer): n for layer, n in turns.items()}
            raise ImportRefused(
                f"neurons are called a different number of times, {counts}: a step has one call "
                "of each",
                next="use a layer of its own in each place",
            )
        return next(iter(turns.values()))

    def _reset(self) -> None:
        for module in (part for whole in self.modules for part in whole.modules()):
            if found := framework_of(module):
                found.reset(module)


def _takes(program: Program) -> int:
    """How many arguments it may be given by position."""
    function = program.forward if isinstance(program, nn.Module) else program
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(p.kind in kinds for p in parameters)
