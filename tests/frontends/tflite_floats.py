"""Float models made of int8 ones, and LiteRT's float kernels as an oracle."""

from __future__ import annotations

import numpy as np
from tflite_models import Writer
from tflite_oracle import reference

from spikelet.frontends.network_package import Imported
from spikelet.frontends.tflite.file import FileModel, FileTensor, parse
from spikelet.graph import Array
from spikelet.quantise import run

# Of the cases of int8 models, those of operators that float models may have.
CASES = (
    "conv_2d", "depthwise_conv_2d", "fully_connected", "fully_connected_rows", "add", "sub", "mul",
    "add_two", "prelu", "average_pool_2d", "max_pool_2d", "mean", "softmax", "relu", "relu6",
    "relu_n1_to_1", "relu_0_to_1", "logistic", "tanh", "hard_swish", "abs", "gelu",
    "gelu_approximate", "leaky_relu", "reshape", "squeeze", "expand_dims", "transpose",
    "concatenation", "split", "split_v", "strided_slice_masks", "strided_slice", "slice", "pad",
    "resize_nearest", "arg_max",
)  # fmt: skip


def real_values(found: FileTensor) -> Array | None:
    """The values of a constant; of one that is quantised the real ones."""
    if found.data is None or not len(found.scales):
        return found.data
    line = [-1 if a == found.axis else 1 for a in range(max(found.data.ndim, 1))]
    scales, zeros = (v.reshape(line) for v in (found.scales, found.zero_points))
    if len(found.scales) == 1:
        scales, zeros = found.scales[0], found.zero_points[0]
    values: Array = ((found.data.astype(np.float64) - zeros) * scales).astype(np.float32)
    return values.reshape(found.shape)


def to_float(data: bytes) -> bytes:
    """The same model on real numbers, its int8 and int32 constants made float."""
    model: FileModel = parse(data, "int8")
    w = Writer()
    for found in model.tensors:
        quantised = found.dtype in ("INT8", "UINT8") or len(found.scales) > 0
        w.tensor(
            found.shape,
            data=real_values(found),
            dtype="FLOAT32" if quantised else found.dtype,
            name=found.name,
        )
    for operator in model.operators:
        w.op(operator.kind, list(operator.inputs), list(operator.outputs), **operator.options)
    return w.finish(list(model.inputs), list(model.outputs))


def draw(imported: Imported, samples: int, rng: np.random.Generator) -> dict[str, Array]:
    """Inputs with the file's shapes."""
    return {
        name: rng.normal(0, 2, (samples, *shape[1:])).astype(np.float32)
        for name, shape in imported.network.inputs.items()
    }


def worst(data: bytes, imported: Imported, feeds: dict[str, Array]) -> dict[str, float]:
    """By tensor of the file that the network has, the largest difference over the largest value."""
    interpreter, network = reference(data), imported.network
    found = run(network, feeds)
    by_name = {d["name"]: d["index"] for d in interpreter.get_tensor_details()}
    # Outputs have the file's shape, the others channels first.
    held = [(name, by_name[name], False) for name in found if name in by_name.keys() - feeds.keys()]
    details = interpreter.get_output_details()
    held += [(n, d["index"], True) for n, d in zip(network.outputs, details, strict=True)]
    differences: dict[str, float] = {}
    for sample in range(len(next(iter(feeds.values())))):
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], feeds[detail["name"]][sample : sample + 1])
        interpreter.invoke()
        for name, index, is_output in held:
            wanted = interpreter.get_tensor(index)
            value = found[name][sample : sample + 1]
            if not is_output and value.ndim > 2 and name not in network.outputs:
                value = np.moveaxis(value, 1, -1)
            difference = np.abs(value.reshape(wanted.shape).astype(np.float64) - wanted)
            relative = float(difference.max()) / max(1.0, float(np.abs(wanted).max()))
            differences[name] = max(differences.get(name, 0.0), relative)
    return differences
