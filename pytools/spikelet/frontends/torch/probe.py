"""Whether a module computes each sample from itself alone, and the same whenever it is asked.

`torch.export` sees one sample, once: what mixes samples, draws random numbers or counts its calls
leaves no trace. So the module is executed on several samples and on each alone, every ATen call of
it is compared, and the first that differs is named.
"""

from __future__ import annotations

import copy
import linecache
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from spikelet.graph import Array
from spikelet.quantise.apart import MIXED, SAMPLES, agree, apart, is_batched
from spikelet.refusal import ImportRefused, refuse, shorten

_SWITCHES = ("train", "training")  # of calls that draw numbers in training only
_OWN = (str(Path(torch.__file__).parent), __file__)
_PACKAGE = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Step:
    """One ATen call: its name, the line of the user's Python, what it gave."""

    name: str
    line: str
    values: tuple[Array, ...]


class _Mixed(ImportRefused):
    """Samples whose values together are not those of each alone, by more than the tolerance."""


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every ATen call while it is active."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []
        self.draws: Step | None = None
        self.failed: Step | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        line = _users_line()
        if self.draws is None and _draws(func, args, kwargs or {}):
            self.draws = Step(str(func), line, ())
        try:
            result = func(*args, **(kwargs or {}))
        except Exception:
            self.failed = Step(str(func), line, ())
            raise
        tensors = [v for v in tree_leaves(result) if isinstance(v, torch.Tensor) and v.numel()]
        if not str(func).startswith("aten.empty"):
            self.steps.append(Step(str(func), line, tuple(map(_copy_arrays, tensors))))
        return result


def _copy_arrays(values: torch.Tensor) -> Array:
    with torch.utils._python_dispatch._disable_current_modes():
        array: Array = np.array(values.detach().cpu().to(
            torch.float64 if values.is_floating_point() else values.dtype
        ).numpy())  # fmt: skip
    return array


def _draws(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a call draws random numbers."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    names = [argument.name for argument in func._schema.arguments]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    off = any(given.get(name) is False for name in _SWITCHES)
    return not off and ("dropout_p" not in names or bool(given.get("dropout_p")))


def _users_line() -> str:
    """Where in the user's Python a call is made: `file.py, line 3: y = f(x)`."""
    frame = sys._getframe(2)
    while frame is not None and (
        frame.f_code.co_filename.startswith(_OWN) or frame.f_code.co_filename.startswith("<")
    ):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None or frame.f_code.co_filename.startswith(_PACKAGE):
        return ""
    file, number = frame.f_code.co_filename, frame.f_lineno
    return f"{Path(file).name}, line {number}: {linecache.getline(file, number).strip()}"


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode, without gradients; random numbers elsewhere go on as ever."""
    modes = {layer: layer.training for layer in module.modules()}
    held = random.getstate(), np.random.get_state()
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(held[0])
        np.random.set_state(held[1])
        for layer, mode in modes.items():
            layer.training = mode


def _record(
    module: nn.Module, inputs: tuple[torch.Tensor, ...], seed: int
) -> tuple[_Recorder, list[Array]]:
    for choose in (random.seed, np.random.seed, torch.manual_seed):
        choose(seed)
    recorder = _Recorder()
    with recorder:
        outputs = module(*inputs)
    return recorder, [_copy_arrays(v) for v in tree_leaves(outputs) if isinstance(v, torch.Tensor)]


def check_module(module: nn.Module, example: tuple[torch.Tensor, ...]) -> None:
    """Refuse a module that is not the same function of each sample.

    Args:
        module: that torch.export has traced.
        example: one sample of each input, (1, *shape).

    Raises:
        ImportRefused: names the call and the line of Python that draws random numbers, gives other
            values from call to call, or mixes samples.
    """
    generator = torch.Generator().manual_seed(0)
    for positive in (False, True):
        drawn = [torch.randn(SAMPLES, *x.shape[1:], generator=generator) for x in example]
        several = tuple(x.abs() + 0.1 if positive else x for x in drawn)
        with evaluation_mode(module):
            try:
                _check_once(module, several)
            except _Mixed as mixed:
                if not _is_rounding(module, several):
                    raise mixed from None


def _is_rounding(module: nn.Module, several: tuple[torch.Tensor, ...]) -> bool:
    """Whether samples that seemed mixed are apart in float64: a difference magnifies rounding."""
    try:
        _check_once(copy.deepcopy(module).double(), tuple(x.double() for x in several))
    except Exception:  # whatever keeps a copy from being made or executed: nothing is shown
        return False
    return True


def _check_once(module: nn.Module, several: tuple[torch.Tensor, ...]) -> None:
    each = [tuple(x[i : i + 1] for x in several) for i in range(SAMPLES)]
    runs = [_record(module, inputs, seed) for seed, inputs in enumerate(each)]
    first, outputs = runs[0]
    if first.draws is not None:
        raise _refusal(
            first.draws, "it draws random numbers in forward()",
            "draw them outside and give them as an input, or draw in training alone",
        )  # fmt: skip
    again, values = _record(module, each[0], SAMPLES)
    if not all(map(agree, values, outputs)):
        steps = zip(first.steps, again.steps, strict=False)
        named = next((a for a, b in steps if not all(map(agree, b.values, a.values))), None)
        raise _refusal(
            named, "it gives other values from call to call",
            "a function of its input alone; random numbers and counters outside of forward()",
        )  # fmt: skip
    recorder = _Recorder()
    try:
        with recorder:
            together = [_copy_arrays(v) for v in tree_leaves(module(*several))]
    except Exception as error:
        text = shorten(str(error).strip().splitlines()[0] if str(error).strip() else "", 160)
        raise _refusal(
            recorder.failed,
            f"{MIXED}: with {SAMPLES} samples at once it fails ({type(error).__name__}: {text})",
            "x.flatten(1), x.reshape(x.shape[0], ...): shapes that keep the first axis",
        ) from error
    kept = all(
        is_batched(whole, [results[i] for _, results in runs]) for i, whole in enumerate(together)
    )
    named = _first_mixed(recorder, [run for run, _ in runs], every=not kept)
    if named is not None or not kept:
        step = named or recorder.steps[-1]
        hint = "the other axes; f(samples)[i] must be f(sample i)"
        if step.name == "aten.squeeze.default":  # of one sample it drops the batch axis, too
            hint = "squeeze(-1), squeeze(1): name the axis to drop"
        refused = _refusal(step, MIXED, hint)
        raise _Mixed(refused.what, refused.cause, refused.next)


def _first_mixed(whole: _Recorder, alone: list[_Recorder], every: bool) -> Step | None:
    """The first call whose result is not that of each sample; of real numbers, or of `every`."""
    rows: Iterator[tuple[Step, ...]] = zip(whole.steps, *(run.steps for run in alone), strict=False)
    for step, *others in rows:
        if any(other.name != step.name for other in others):
            return step if every else None  # other calls for another number of samples
        for i, values in enumerate(step.values):
            each = [other.values[i] for other in others]
            if (every or values.dtype.kind == "f") and not apart(values, each):
                return step
    return None


def _refusal(step: Step | None, reason: str, supported: str) -> ImportRefused:
    name, line = ("the module", "") if step is None else (step.name, step.line)
    where = f" ({line})" if line else ""
    node = "forward" if step is None else name.split(".")[1]
    return refuse(node, name, f"{reason}{where}", supported, {})
