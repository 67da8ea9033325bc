"""Networks of Larq, converted by Larq Compute Engine, and what its reference interpreter computes.

Not a part of the tests' process: it runs in an environment that has `REQUIREMENTS`, and writes
NAME.tflite and NAME.npz (inputs `x`, outputs `y`, and for `trained` labels `labels`) of each model
into a folder. Inputs are small integers, whose signs no input scale changes.

    python tests/frontends/larq_models.py FOLDER [SAMPLES.npz]

With samples (`x` (N, 14, 14, 1) and labels `y`; the last 1000 are no training data) it trains one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

REQUIREMENTS = (
    "larq-compute-engine==0.16.0", "larq==0.14.0", "tensorflow-cpu==2.13.1", "numpy==1.24.3",
)  # fmt: skip
SAMPLES = 8
TESTED = 1000


def binary(filters: int, kernel: int, **given: Any) -> Any:
    """A convolution of signs with signs."""
    import larq

    signs = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign"}
    more = {"kernel_constraint": "weight_clip", "use_bias": False}
    return larq.layers.QuantConv2D(filters, kernel, **signs, **more, **given)


def pools() -> Any:
    """Bits from end to end: pools before a layer, and between one and its norm."""
    import larq
    from tensorflow.keras import Input, Model, layers

    x = inputs = Input((9, 8, 32))
    x = larq.quantizers.SteSign()(x)
    x = layers.MaxPool2D(3, strides=2, padding="same")(x)
    x = binary(64, 3, padding="same", pad_values=1.0)(x)
    x = layers.BatchNormalization()(x)
    x = binary(32, (2, 3), padding="same", pad_values=1.0)(x)
    x = layers.MaxPool2D(2, strides=1)(x)
    x = layers.BatchNormalization()(x)
    x = binary(32, 1)(x)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPool2D(2)(x)
    x = binary(40, 1)(x)
    x = layers.BatchNormalization()(x)
    return Model(inputs, larq.quantizers.SteSign()(x))


def margins() -> Any:
    """Margins that do not count, a dilation, a stride, groups; real values between and at last."""
    from tensorflow.keras import Input, Model, layers

    x = inputs = Input((7, 8, 64))
    x = binary(32, 3, padding="same", pad_values=0.0)(x)
    x = layers.BatchNormalization()(x)
    x = binary(32, 3, strides=2, padding="same", pad_values=0.0, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = binary(64, 2, dilation_rate=2, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = binary(32, 1, groups=2)(x)
    return Model(inputs, layers.BatchNormalization()(x))


def dense() -> Any:
    """A depthwise and a dense layer, which the converter leaves to float operators."""
    import larq
    from tensorflow.keras import Input, Model, layers

    signs = {"input_quantizer": "ste_sign", "padding": "same", "pad_values": 1.0}
    x = inputs = Input((5, 4, 32))
    x = larq.layers.QuantDepthwiseConv2D(3, depthwise_quantizer="ste_sign", **signs)(x)
    x = layers.Flatten()(x)
    given = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign"}
    x = larq.layers.QuantDense(32, **given)(x)
    x = layers.BatchNormalization()(x)
    return Model(inputs, larq.layers.QuantDense(7, **given)(x))


def trained(path: Path) -> tuple[Any, Any, Any]:
    """A small BinaryNet, trained; the model, and samples and labels that it has not seen."""
    import tensorflow
    from tensorflow.keras import Input, Model, layers

    with np.load(path) as data:
        x, y = data["x"], data["y"]
    z = inputs = Input(x.shape[1:])
    z = layers.Conv2D(32, 3, padding="same", use_bias=False)(z)
    z = layers.BatchNormalization(momentum=0.9)(z)
    for filters in (32, 64):
        z = layers.MaxPool2D(2)(binary(filters, 3, padding="same", pad_values=1.0)(z))
        z = layers.BatchNormalization(scale=False, momentum=0.9)(z)
    z = binary(64, 3, padding="same", pad_values=1.0)(z)
    z = layers.BatchNormalization(momentum=0.9)(z)
    z = layers.Dense(10)(layers.GlobalAveragePooling2D()(z))
    model = Model(inputs, z)
    loss = tensorflow.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tensorflow.keras.optimizers.Adam(0.005), loss)
    model.fit(x[:-TESTED], y[:-TESTED], batch_size=64, epochs=3, verbose=0)
    return model, x[-TESTED:], y[-TESTED:]


def settle(model: Any) -> Any:
    """Norms as training might leave them, of channels some of which are turned upside down."""
    from tensorflow.keras import layers

    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            n = len(layer.get_weights()[0])
            means = rng.normal(0, 2, n), rng.uniform(1, 40, n)
            layer.set_weights([rng.normal(0.5, 0.7, n), rng.normal(0, 0.3, n), *means])
    return model


def write(folder: Path, name: str, model: Any, x: Any, **more: Any) -> None:
    """A model as a file, and what the reference interpreter makes of samples."""
    import larq_compute_engine
    from larq_compute_engine.tflite.python.interpreter import Interpreter

    data = larq_compute_engine.convert_keras_model(model)
    (folder / f"{name}.tflite").write_bytes(data)
    y = Interpreter(data, use_reference_bconv=True).predict(x)
    np.savez_compressed(folder / f"{name}.npz", x=x, y=y, **more)


def main(folder: Path, samples: Path | None) -> None:
    """Write all models."""
    import tensorflow

    folder.mkdir(parents=True, exist_ok=True)
    for seed, make in enumerate((pools, margins, dense)):
        tensorflow.keras.utils.set_random_seed(seed)
        model = settle(make())
        shape = (SAMPLES, *model.input_shape[1:])
        x = np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)
        write(folder, make.__name__, model, x)
    if samples is not None:
        tensorflow.keras.utils.set_random_seed(9)
        model, x, labels = trained(samples)
        write(folder, "trained", model, x, labels=labels)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
