"""What a PyTorch program with spiking neurons does when it runs: its calls, and what feeds what.

Layers that are known are one call each; between them every PyTorch function is. The values that go
from call to call are followed by the tensors themselves, so it does not matter whether the loop
over time is inside of a module or around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from spikelet.frontends.spiking.framework import check_carried


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or a function.

    Attributes:
        number: its place among all calls.
        what: the module or the function.
        path: of a module in the network; the function's name.
        arguments: as they were given, keywords behind.
        outputs: the tensors that it returned, in order.
        turn: how often the same module was called before; 0 for functions.
    """

    number: int
    what: Any
    path: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    outputs: tuple[Tensor, ...]
    turn: int

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors among its arguments."""
        leaves = tree_leaves((self.arguments, self.keywords))
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


class Tape(TorchFunctionMode):
    """The calls of one run.

    Args:
        network: whose modules are named; None for a program without one.
        is_layer: which modules are one call.
        double: the run is in float64, whatever precision its surrogates name.
    """

    def __init__(
        self, network: nn.Module | None, is_layer: Callable[[nn.Module], bool], double: bool = True
    ) -> None:
        super().__init__()
        self.double = double
        self.calls: list[Call] = []
        self.names: dict[nn.Module, str] = {}
        if network is not None:
            self.names = {module: name for name, module in network.named_modules()}
        self.is_layer = is_layer
        self.writer: dict[int, tuple[Call, int]] = {}  # of a tensor, by its identity
        self._depth = 0
        self._turns: dict[nn.Module, int] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if self.double and func is Tensor.float:
            func = Tensor.double
        self._depth += 1  # what a function calls itself is its own affair
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self._depth -= 1
        if not self._depth:
            name = getattr(func, "__name__", str(func))
            self._note(func, name, tuple(args), dict(kwargs or {}), result, 0)
        return result

    def _note(
        self,
        what: Any,
        path: str,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        result: Any,
        turn: int,
    ) -> None:
        outputs = tuple(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        if not outputs:
            return
        call = Call(len(self.calls), what, path, arguments, keywords, outputs, turn)
        self.calls.append(call)
        # A function that returns what it was given, as dropout does, changes nothing; of what is
        # returned twice the first counts.
        given = {id(tensor) for tensor in call.inputs}
        for i, tensor in reversed(list(enumerate(outputs))):
            if id(tensor) not in given:
                self.writer[id(tensor)] = call, i

    def written_by(self, tensor: Tensor) -> tuple[Call, int] | None:
        """The call that wrote a tensor, and which of its outputs it is; None for given ones."""
        found = self.writer.get(id(tensor))
        return found if found is not None and found[0].outputs[found[1]] is tensor else None

    def name_of(self, module: nn.Module) -> str:
        """Its path in the network, or a name after its class."""
        if module not in self.names:
            kind = type(module).__name__.lower()
            alike = sum(name.rstrip("0123456789") == kind for name in self.names.values())
            self.names[module] = f"{kind}{alike + 1}"
        return self.names[module]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, calls are noted."""

        def before(module: nn.Module, _arguments: Any) -> None:
            if self.is_layer(module):
                self._depth += 1
            elif not self._depth:
                check_carried(self.name_of(module), module)

        def after(module: nn.Module, arguments: Any, keywords: Any, result: Any = None) -> None:
            if not self.is_layer(module):
                return
            self._depth -= 1
            if not self._depth and result is not None:  # it failed, and says so itself
                turn = self._turns.get(module, 0)
                self._turns[module] = turn + 1
                path = self.name_of(module)
                self._note(module, path, tuple(arguments), dict(keywords), result, turn)

        hooks = [
            register_module_forward_pre_hook(before),
            register_module_forward_hook(after, with_kwargs=True, always_call=True),
        ]
        default = torch.get_default_dtype()
        if self.double:
            torch.set_default_dtype(torch.float64)
        try:
            with torch.no_grad(), self:
                yield
        finally:
            torch.set_default_dtype(default)
            for hook in hooks:
                hook.remove()
