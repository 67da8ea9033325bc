"""PyTorch modules to float networks, through torch.export.

The module is traced once, in evaluation mode, on one sample; what it computes is then a line of
ATen calls, which `layers` and `moving` carry to the operators of `quantise.network`.
Composite calls that have no operator of their own are taken apart by PyTorch itself; calls on
constants alone (a weight norm, a table of positions) are executed here.
"""

from __future__ import annotations

import io
import logging
import operator
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram, default_decompositions
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils._pytree import tree_leaves

from spikelet.errors import UsageError
from spikelet.frontends.manifest import figures, first_layout, layouts
from spikelet.frontends.torch import layers, moving
from spikelet.frontends.torch.call import ADVICE, HANDLERS, SUPPORTED, Activation, Call, Value
from spikelet.frontends.torch.probe import check_module, evaluation_mode
from spikelet.graph import Array
from spikelet.graph.names import why_no_name
from spikelet.graph.simplify import simplify
from spikelet.package import Package
from spikelet.quantise import Network, Options, Original, Quantised, encode, quantise
from spikelet.refusal import ImportRefused, shorten
from spikelet.samples import check_lengths, checked_truth, labels_key, real_samples
from spikelet.version import __version__

__all__ = ["export", "from_torch"]

Example = torch.Tensor | np.ndarray[Any, Any]
Samples = Example | Iterable[Any] | Mapping[str, Example]

_ROOMS = (layers, moving)  # they fill HANDLERS

GATHERED = 1024  # samples at most that are taken from batches
VECTORS = 200  # samples of the calibration data that become test vectors


def from_torch(
    module: nn.Module, example: Example | tuple[Example, ...], name: str = "model"
) -> Network:
    """The float network that a module computes in evaluation mode.

    Args:
        module: any module that torch.export can trace; it is left as it was.
        example: its input (N, *shape) with a batch axis, of which the first sample is used; or a
            tuple of its inputs.
        name: of the network.

    A single input is named `x`; several have the names of forward's arguments. Nodes are named
    after the module's layers.

    Raises:
        ImportRefused: names the call, the layer and the line of Python that has no counterpart.
    """
    return _read(module, example, name).network


def _read(module: nn.Module, example: Example | tuple[Example, ...], name: str) -> _Reader:
    """The module, traced, and tried on several samples at once."""
    _check(module)
    examples = example if isinstance(example, tuple) else (example,)
    samples = tuple(_sample(e) for e in examples)
    reader = _Reader(_trace(module, samples), name)
    check_module(module, samples)
    return reader


def export(
    module: nn.Module,
    example: Example | tuple[Example, ...],
    calibration: Samples,
    test: Samples | None,
    labels: Example | None,
    name: str,
    options: Options,
) -> Package:
    """Quantise a trained module to int8 and pack it, without training; see `spikelet.export`."""
    if refused := why_no_name(name):
        raise UsageError(*refused)
    reader = _read(module, example, name)
    network = reader.network
    feeds = _feeds(network, calibration, "calibration")
    whole, source = _count(feeds), "calibration" if test is None else "test"
    classes = None if labels is None else _array(labels)
    if test is None and classes is not None and len(classes) == whole:
        classes = classes[:VECTORS]
    first = {k: v[:VECTORS] for k, v in feeds.items()}
    tested = first if test is None else _feeds(network, test, source)
    count, quantised = _count(tested), quantise(network, feeds, options)
    vectors = {quantised.names[k]: encode(quantised, v, k) for k, v in tested.items()}
    if classes is not None:
        classes = checked_truth(classes, source, count, quantised.graph, first_layout(quantised))
        vectors[labels_key(vectors)] = classes
    less = simplify(quantised.graph)
    manifest = {
        **_manifest(quantised, options),
        "name": name,
        "vectors": f"{count} samples of {source}",
        "calibration": f"{whole} samples",
        **figures(quantised, tested, classes, reader.original(module)),
        **less.manifest_entry(),
    }
    return Package(less.graph, vectors, manifest).with_golden()


def _count(feeds: Mapping[str, Array]) -> int:
    """How many samples there are."""
    return len(next(iter(feeds.values())))


def _manifest(quantised: Quantised, options: Options) -> dict[str, Any]:
    """What made a package, and how."""
    return {
        "created_by": f"spikelet {__version__}",
        "versions": {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "spikelet": __version__,
        },
        "quantisation": {
            "ranges": options.method,
            "equalised": quantised.equalised,
            "bias_correction": options.correct,
            **options.bits_entry(),
        },
        "layouts": layouts(quantised),
    }


def _feeds(network: Network, samples: Samples, what: str) -> dict[str, Array]:
    """Samples by input name, float32, checked against the network's inputs."""
    if isinstance(samples, Mapping):
        given = {k: _array(v) for k, v in samples.items()}
    elif len(network.inputs) > 1:
        raise UsageError(
            f"{what}: the module has the inputs {', '.join(network.inputs)}",
            next=f"give arrays by name, {what}={{{next(iter(network.inputs))!r}: ..., ...}}",
        )
    else:
        given = {next(iter(network.inputs)): gather_samples(samples, what)}
    if set(given) != set(network.inputs):
        raise UsageError(
            f"{what} holds {', '.join(given) or 'nothing'}, expected {', '.join(network.inputs)}"
        )
    given = {k: real_samples(v, what, k, network.inputs[k][1:]) for k, v in given.items()}
    check_lengths(given, what)
    return given


def gather_samples(samples: Example | Iterable[Any], what: str) -> Array:
    """An array, or the first samples of batches; a batch may be (samples, labels)."""
    if isinstance(samples, torch.Tensor | np.ndarray):
        return _array(samples)
    batches: list[Array] = []
    for batch in samples:
        batches.append(_array(batch[0] if isinstance(batch, list | tuple) else batch))
        if sum(map(len, batches)) >= GATHERED:
            break
    if not batches:
        raise UsageError(
            f"{what} holds no sample",
            "a generator that was used up before",
            "give a list, an array or a DataLoader",
        )
    return np.concatenate(batches)[:GATHERED]


def _array(values: Any) -> Array:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values.numpy()
    try:
        array: Array = np.ascontiguousarray(values)
        if array.dtype.kind in "OSUVMm":
            raise TypeError(array.dtype)
    except (TypeError, ValueError) as e:
        raise UsageError(
            f"samples are a {type(values).__name__}, expected tensors or arrays of numbers",
            "batches of dictionaries, or samples of different shapes",
            "give arrays (N, *shape), or batches that are arrays or (samples, labels)",
        ) from e
    return array


def _check(module: object) -> None:
    if not isinstance(module, nn.Module):
        raise ImportRefused(
            f"module is a {type(module).__name__}, expected a torch.nn.Module",
            next="give the network itself, not its weights or its class",
        )
    for path, layer in module.named_modules():
        if type(layer).__module__.partition(".")[0] in ("snntorch", "spikingjelly", "norse"):
            raise ImportRefused(
                f"layer {path or 'itself'} is a spiking one ({type(layer).__name__})",
                "this function is for networks without time steps",
                "options=spikelet.Spiking(steps=...) carries spiking networks",
            )


def _sample(example: Example) -> torch.Tensor:
    """The first sample as float32, batch axis kept."""
    if not isinstance(example, torch.Tensor | np.ndarray):
        raise ImportRefused(
            f"example is a {type(example).__name__}, expected a tensor or an array (N, *shape)"
        )
    tensor = torch.as_tensor(example)
    if tensor.ndim < 2 or not len(tensor):
        raise ImportRefused(
            f"example has shape {tuple(tensor.shape)}, expected (N, *shape) with at least 1 sample",
            "the batch axis is missing",
            "example[None] adds it",
        )
    return tensor[:1].detach().to(torch.float32)


def _trace(module: nn.Module, samples: tuple[torch.Tensor, ...]) -> ExportedProgram:
    """The module's ATen calls, without mutation, composite ones as `HANDLERS` knows them."""
    modes = {layer: layer.training for layer in module.modules()}
    dtypes = {p.dtype for p in module.parameters() if p.is_floating_point()}
    if dtypes - {torch.float32}:
        raise ImportRefused(
            f"the module's parameters are {', '.join(sorted(map(str, dtypes)))}, "
            "expected torch.float32",
            next="module.float() converts them",
        )
    module.eval()
    try:
        with torch.no_grad(), _quiet():
            table: dict[Any, Any] = default_decompositions()
            for known in (*HANDLERS, *ADVICE):
                packet = getattr(torch.ops.aten, known, None)
                for overload in packet.overloads() if packet is not None else ():
                    table.pop(getattr(packet, overload), None)
            program: ExportedProgram = torch.export.export(module, samples).run_decompositions(
                table
            )
            return program
    except Exception as e:  # whatever the module's own Python raises, and torch.export's errors
        lines = [line.strip() for line in str(e).splitlines() if line.strip()] or [""]
        raise ImportRefused(
            f"the module cannot be traced, {type(e).__name__}: {shorten(lines[0], 200)}",
            *_why_not_traced(str(e)),
        ) from e
    finally:
        for layer, mode in modes.items():
            layer.training = mode


def _why_not_traced(text: str) -> tuple[str, str]:
    """The likely cause, and what to do."""
    if "scalar types: Long" in text:
        return (
            "inputs are real numbers here, and it takes them as integers, as an embedding does",
            ADVICE["embedding"] + ": look the vectors up outside, and give them as the input",
        )
    return (
        "its forward() fails on the example, or branches on the values of a tensor",
        "module.eval()(example) must work, and torch.export.export(module, (example,)) too",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PyTorch's own account of what it cannot trace: the error tells it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class _Reader:
    """The network as it grows, call by call."""

    def __init__(self, program: ExportedProgram, name: str) -> None:
        self.network = Network(name, {}, [], [])
        self.program = program
        self.values: dict[torch.fx.Node, Value] = {}
        for node in program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self.placeholder(node)
            elif node.op == "call_function":
                self.values[node] = self.call(node)
            elif node.op == "output":
                self.finish(node)
            else:
                raise ImportRefused(
                    f"node {node.name}: torch.export gave a {node.op}",
                    "a higher-order operator, or a module that was compiled",
                    "plain layers and functions of torch are supported",
                )

    def original(self, module: nn.Module) -> Original:
        """The module itself; what its layers write on the way comes from its ATen calls."""
        nodes: dict[str, tuple[torch.fx.Node, int | None]] = {}
        for node, value in self.values.items():
            for i, part in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
                if isinstance(part, Activation):
                    nodes.setdefault(part.name, (node, i))
        network = self.network

        def run(feeds: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
            inputs = [torch.from_numpy(np.array(feeds[n], np.float32)) for n in network.inputs]
            inner = [name for name in names if name in nodes and name not in network.outputs]
            rows: dict[str, list[Array]] = {name: [] for name in inner}
            with evaluation_mode(module):
                results = [v.numpy() for v in tree_leaves(module(*inputs))]
                for i in range(len(inputs[0])) if inner else ():
                    values = self.execute([x[i : i + 1] for x in inputs])
                    for name in inner:
                        node, part = nodes[name]
                        value = values[node] if part is None else values[node][part]
                        rows[name].append(np.array(value.numpy(), np.float32))
            outputs = dict(zip(network.outputs, results, strict=False))
            return {**outputs, **{name: np.concatenate(row) for name, row in rows.items()}}

        return Original(f"the module itself, torch {torch.__version__}", run)

    def execute(self, inputs: list[torch.Tensor]) -> dict[torch.fx.Node, Any]:
        """What each call of the traced module gives for one sample."""
        values: dict[torch.fx.Node, Any] = {}
        left = iter(inputs)

        def known(argument: Any) -> Any:
            return values[argument] if isinstance(argument, torch.fx.Node) else argument

        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                given = isinstance(self.values[node], Activation)
                values[node] = next(left) if given else self.values[node]
            elif node.op == "call_function":
                args, kwargs = torch.fx.node.map_aggregate((node.args, node.kwargs), known)
                values[node] = node.target(*args, **kwargs)
        return values

    def placeholder(self, node: torch.fx.Node) -> Value:
        """An input, or the values of a parameter or a buffer."""
        signature = self.program.graph_signature
        spec = next(s for s in signature.input_specs if getattr(s.arg, "name", None) == node.name)
        if spec.kind is InputKind.USER_INPUT:
            inputs = [s for s in signature.input_specs if s.kind is InputKind.USER_INPUT]
            example = node.meta.get("val")
            if not isinstance(example, torch.Tensor):
                raise ImportRefused(f"input {node.name} is no tensor", next="give tensors alone")
            name = "x" if len(inputs) == 1 else node.name
            self.network.inputs[name] = tuple(int(n) for n in example.shape)
            return Activation(name, self.network.inputs[name])
        held: Mapping[str, Any] = {**self.program.constants, **self.program.state_dict}
        value = held[str(spec.target)]
        if not isinstance(value, torch.Tensor):
            raise ImportRefused(f"constant {spec.target} is a {type(value).__name__}, no tensor")
        return value.detach()

    def call(self, node: torch.fx.Node) -> Value:
        """What a call gives: executed where it is of constants alone."""
        if node.target is operator.getitem:
            values, index = self.resolve(node.args[0]), node.args[1]
            if isinstance(values, tuple | list) and isinstance(index, int) and index < len(values):
                item: Value = values[index]
                return item
            raise self.refuse_node(node, "this of its results is not supported")
        target = node.target
        if not isinstance(target, torch._ops.OpOverload):
            raise self.refuse_node(node, "it is no ATen operator")
        arguments = self.resolve(list(node.args))
        keywords = {k: self.resolve(v) for k, v in node.kwargs.items()}
        if not any(isinstance(v, Activation) for v in _flat([arguments, *keywords.values()])):
            computed: Value = target(*arguments, **keywords)
            return computed
        formal = target._schema.arguments
        bound = {a.name: a.default_value for a in formal}
        bound.update(zip(bound, arguments, strict=False))
        bound.update(keywords)
        packet = str(target.overloadpacket.__name__)
        meta = node.meta.get("val")
        shape = tuple(int(n) for n in meta.shape) if isinstance(meta, torch.Tensor) else ()
        call = Call(
            self.network,
            str(target),
            bound,
            shape,
            self.name_of(node, packet),
            _layer(node),
            _line(node),
        )
        if packet not in HANDLERS:
            raise call.refuse("not supported", ADVICE.get(packet, SUPPORTED))
        return HANDLERS[packet](call)

    def resolve(self, argument: Any) -> Any:
        """Nodes replaced by their values, in lists too."""
        if isinstance(argument, torch.fx.Node):
            return self.values[argument]
        if isinstance(argument, list | tuple):
            return type(argument)(self.resolve(a) for a in argument)
        return argument

    def name_of(self, node: torch.fx.Node, packet: str) -> str:
        """A free C identifier: the layer's path, and the call's name where it does not tell."""
        path = re.sub(r"\W", "_", _layer(node))
        packet = "batch_norm" if "batch_norm" in packet else packet.strip("_")
        own = bool(path) and _is_leaf(node)
        name = path if own and not path[0].isdigit() else f"{packet}_{path}" if own else (
            f"{path}_{packet}" if path and not path[0].isdigit() else f"{packet}_{path}".rstrip("_")
        )  # fmt: skip
        taken = {*self.network.inputs, *self.network.constants}
        taken.update(n.name for n in self.network.nodes)
        free, number = name, 1
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        return free

    def refuse_node(self, node: torch.fx.Node, reason: str) -> ImportRefused:
        """A refusal of a node that is no call of an operator."""
        call = Call(
            self.network, str(node.target), {}, (), str(node.name), _layer(node), _line(node)
        )
        return call.refuse(reason, SUPPORTED)

    def finish(self, node: torch.fx.Node) -> None:
        """The outputs."""
        specs = self.program.graph_signature.output_specs
        for spec, value in zip(specs, self.resolve(node.args[0]), strict=True):
            if spec.kind is not OutputKind.USER_OUTPUT:
                raise ImportRefused(
                    f"the module writes its own state ({spec.target}) in forward()",
                    "a layer with a memory from call to call",
                    "a network without state is supported",
                )
            number = len(self.network.outputs)
            if not isinstance(value, Activation):
                raise ImportRefused(
                    f"output {number} does not depend on the input",
                    next="return what the layers compute",
                )
            if value.name in self.network.inputs:
                raise ImportRefused(
                    f"output {number} is the input itself",
                    "the module has no layer that computes anything",
                    "return what the layers compute",
                )
            self.network.outputs.append(value.name)


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _layer(node: torch.fx.Node) -> str:
    """Path of the innermost layer that a call comes from; "" for the module itself."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def _is_leaf(node: torch.fx.Node) -> bool:
    """Whether that layer is one of PyTorch's own, so that its path names the call."""
    kind = list(node.meta["nn_module_stack"].values())[-1][1]
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return kind.startswith("torch.nn.")


def _line(node: torch.fx.Node) -> str:
    """Where in the user's Python a call is made: `file.py, line 3: y = f(x)`."""
    trace = str(node.meta.get("stack_trace") or "")
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', trace)
    own = [f for f in frames if f"{Path(torch.__file__).parent}" not in f[0]]
    if not own:
        return ""
    file, line, text = own[-1]
    return f"{Path(file).name}, line {line}: {text.strip()}"
