"""Layers with weights, functions of one value and of two: from ATen to `quantise.network`."""

from __future__ import annotations

import numpy as np

from spikelet.frontends.torch.call import HANDLERS, Activation, Call, Handler, Value, each, handles
from spikelet.graph import Array

# Layers with weights.


@handles("conv1d", "conv2d", "convolution")
def _conv(call: Call) -> Activation:
    x, weight = call.activation(), call.array("weight")
    if weight is None or weight.ndim not in (3, 4):
        raise call.refuse("it has not 1 or 2 spatial axes", "conv1d and conv2d are supported")
    if call.arguments.get("transposed"):
        raise call.refuse("it is transposed", "upsample by nearest neighbours, then convolve")
    n = weight.ndim - 2
    if len(x.shape) != n + 2:
        raise call.refuse("its input has no batch axis", f"expected {n + 2} axes")
    dilations = each(call["dilation"], n)
    padding = call["padding"]
    if isinstance(padding, str):  # "same" pads one more at the end where the sum is odd
        spans = [d * (k - 1) for d, k in zip(dilations, weight.shape[2:], strict=True)]
        spans = spans if padding == "same" else [0] * n
        pads = [s // 2 for s in spans] + [s - s // 2 for s in spans]
    else:
        pads = each(padding, n) * 2
    attributes = {
        "strides": each(call["stride"], n),
        "pads": pads,
        "dilations": dilations,
        "group": int(call["groups"]),
    }
    inputs = [x.name, call.keep("weight", weight)]
    if call["bias"] is not None:
        inputs.append(call.keep("bias", call.array("bias")))
    return call.add("Conv", inputs, attributes)


@handles("linear")
def _linear(call: Call) -> Activation:
    return _gemm(call, call.activation(), call.array("weight"), call.array("bias"))


@handles("matmul", "mm")
def _matmul(call: Call) -> Activation:
    weight = call.array("mat2" if "mat2" in call.arguments else "other")
    if weight is None or weight.ndim != 2:
        raise call.refuse("its second operand is no matrix", "a constant matrix (I, O)")
    return _gemm(call, call.activation(), weight.T, None)


@handles("addmm")
def _addmm(call: Call) -> Activation:
    bias, weight = call.array("self"), call.array("mat2")
    if bias is None or weight is None or float(call["beta"]) != 1 or float(call["alpha"]) != 1:
        raise call.refuse("it scales its operands", "beta=1 and alpha=1")
    bias = np.broadcast_to(bias, weight.shape[1:]) if bias.ndim <= 1 else bias.reshape(-1)
    return _gemm(call, call.activation("mat1"), weight.T, np.ascontiguousarray(bias))


def _gemm(call: Call, x: Activation, weight: Array | None, bias: Array | None) -> Activation:
    """Last-axis linear; weight (O, I)."""
    if weight is None or weight.ndim != 2:
        raise call.refuse("its weight is no matrix", "a constant weight (O, I)")
    inputs = [x.name, call.keep("weight", np.ascontiguousarray(weight))]
    if bias is not None:
        inputs.append(call.keep("bias", bias))
    return call.add("Gemm", inputs)


@handles(
    "batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "native_batch_norm",
    "cudnn_batch_norm",
)
def _batch_norm(call: Call) -> Value:
    x = call.activation()
    if call.arguments.get("training") or call.arguments.get("running_mean") is None:
        raise call.refuse(
            "it has no running mean and variance", "track_running_stats=True is supported"
        )
    channels = (x.shape[1],)
    scale, bias = call.array("weight"), call.array("bias")
    scale = np.ones(channels, np.float32) if scale is None else scale
    bias = np.zeros(channels, np.float32) if bias is None else bias
    named = {
        "scale": scale,
        "bias": bias,
        "mean": call.array("running_mean"),
        "var": call.array("running_var"),
    }
    inputs = [x.name, *(call.keep(k, v) for k, v in named.items())]
    done = call.add("BatchNormalization", inputs, {"epsilon": float(call["eps"])}, x.shape)
    return done if call.shape else (done, None, None)


# Functions of one code, and clamps.


def _function(op: str, **constants: float) -> Handler:
    def handler(call: Call) -> Activation:
        return call.add(op, [call.activation("self").name], dict(constants))

    return handler


for _aten, _op in {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "hardswish": "HardSwish",
    "silu": "Silu",
    "mish": "Mish",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "reciprocal": "Reciprocal",
    "abs": "Abs",
    "neg": "Neg",
    "erf": "Erf",
    "sin": "Sin",
    "cos": "Cos",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "sign": "Sign",
    "tan": "Tan",
    "asin": "Asin",
    "acos": "Acos",
    "atan": "Atan",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "asinh": "Asinh",
    "acosh": "Acosh",
    "atanh": "Atanh",
}.items():
    HANDLERS[_aten] = _function(_op)
HANDLERS["relu6"] = _function("Clip", min=0.0, max=6.0)
HANDLERS["hardsigmoid"] = _function("HardSigmoid", alpha=1 / 6, beta=0.5)
HANDLERS["selu"] = _function("Selu", alpha=1.6732632423543772, gamma=1.0507009873554805)


@handles("sign_bit")
def _sign_bit(call: Call) -> Activation:
    """`spikelet.train.signs`: -1 or 1, of 0, too."""
    return call.add("Trunc", [call.activation("x").name], {"mode": "SIGN"})


@handles("clamp", "hardtanh", "clamp_min", "clamp_max")
def _clamp(call: Call) -> Activation:
    given = call.arguments
    low = given.get("min", given.get("min_val"))
    high = given.get("max", given.get("max_val"))
    limits = {}
    for name, value in (("min", low), ("max", high)):
        if value is not None:
            array = call.array(name if name in given else f"{name}_val")
            if array is None or array.size != 1:
                raise call.refuse("its limits are tensors", "limits that are numbers")
            limits[name] = float(array.reshape(()))
    x = call.activation("self").name
    if limits == {"min": 0.0}:
        return call.add("Relu", [x])
    return call.add("Clip", [x], limits)


@handles("leaky_relu")
def _leaky_relu(call: Call) -> Activation:
    alpha = float(call["negative_slope"])
    return call.add("LeakyRelu", [call.activation("self").name], {"alpha": alpha})


@handles("prelu")
def _prelu(call: Call) -> Activation:
    x, slope = call.activation("self"), call.array("weight")
    if slope is not None and slope.size > 1:  # one a channel, which is axis 1
        slope = slope.reshape(-1, *(1 for _ in x.shape[2:]))
    return call.add("PRelu", [x.name, call.keep("slope", slope)])


@handles("gelu")
def _gelu(call: Call) -> Activation:
    attributes = {"approximate": str(call["approximate"])}
    return call.add("Gelu", [call.activation("self").name], attributes)


@handles("elu")
def _elu(call: Call) -> Activation:
    if float(call["scale"]) != 1 or float(call["input_scale"]) != 1:
        raise call.refuse("it is scaled", "scale=1 and input_scale=1, or selu")
    return call.add("Elu", [call.activation("self").name], {"alpha": float(call["alpha"])})


@handles("celu")
def _celu(call: Call) -> Activation:
    return call.add("Celu", [call.activation("self").name], {"alpha": float(call["alpha"])})


@handles("softplus")
def _softplus(call: Call) -> Activation:
    if float(call["beta"]) != 1 or float(call["threshold"]) < 15:
        raise call.refuse("it is no plain softplus", "beta=1 and a threshold of at least 15")
    return call.add("Softplus", [call.activation("self").name])


def _chain(*ops: str) -> Handler:
    """Functions one after the other; `Add` and `Sub` are of 1."""

    def handler(call: Call) -> Activation:
        x = call.activation("self")
        for i, op in enumerate(ops):
            name = call.name if i == len(ops) - 1 else f"{call.name}_{op.lower()}"
            one = [call.keep("one", np.asarray(1, np.float32))] if op in ("Add", "Sub") else []
            x = call.add(op, [x.name, *one], name=name)
        return x

    return handler


HANDLERS["rsqrt"] = _chain("Sqrt", "Reciprocal")
HANDLERS["log_sigmoid"] = _chain("Sigmoid", "Log")
HANDLERS["log1p"] = _chain("Add", "Log")
HANDLERS["expm1"] = _chain("Exp", "Sub")


@handles("pow", "square")
def _pow(call: Call) -> Activation:
    x = call.activation("self")
    exponent = call.arguments.get("exponent", 2)
    if not isinstance(exponent, int | float):
        raise call.refuse("its exponent is a tensor", "an exponent that is a number")
    if exponent == 2:
        return call.add("Mul", [x.name, x.name])
    return call.add("Pow", [x.name], {"exponent": float(exponent)})


@handles("threshold")
def _threshold(call: Call) -> Activation:
    if float(call["value"]) != 0:
        raise call.refuse("its value is not 0", "value=0")
    alpha = float(call["threshold"])
    return call.add("ThresholdedRelu", [call.activation("self").name], {"alpha": alpha})


# Two operands.


@handles("add", "sub", "rsub")
def _sum(call: Call) -> Activation:
    if float(call.arguments.get("alpha", 1)) != 1:
        raise call.refuse("it scales an operand", "alpha=1; multiply before")
    operands = [call.operand("self"), call.operand("other")]
    if call.target.startswith("aten.rsub"):
        operands.reverse()
    return call.add("Add" if call.target.startswith("aten.add") else "Sub", operands)


@handles("mul", "minimum", "maximum")
def _mul(call: Call) -> Activation:
    op = {"mul": "Mul", "minimum": "Min", "maximum": "Max"}[call.target.split(".")[1]]
    return call.add(op, [call.operand("self"), call.operand("other")])


@handles("div", "true_divide")
def _div(call: Call) -> Activation:
    if call.arguments.get("rounding_mode"):
        raise call.refuse("it rounds", "rounding_mode=None")
    by = call["other"]
    if isinstance(by, Activation):
        inverse = call.add("Reciprocal", [by.name], {}, by.shape, f"{call.name}_inverse")
        return call.add("Mul", [call.operand("self"), inverse.name])
    return call.add("Div", [call.operand("self"), call.operand("other")])
