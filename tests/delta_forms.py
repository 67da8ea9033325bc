"""C libraries that take deltas over, one of each form, for `tests/c/fuzz_delta.c`.

python tests/delta_forms.py FOLDER

The key is the same every time: it protects nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adapter_graphs import drawn_values
from int8_classifier import classifier
from spikelet.graph import Graph
from spikelet.graph.adapted import Adapter
from spikelet.graph.target import ANY
from spikelet.learn.delta import Delta, prepared
from spikelet.package import Package
from spikelet.run.exported import export_c

SECRET = bytes(range(32))
FORMS = {
    "scale_bias": Adapter("scale_bias", 0, 8),
    "low_rank": Adapter("low_rank", 2, 1),
    "sparse": Adapter("sparse", 2, 1),
    "head": Adapter("head", 0, 8),
}


def _listed(data: bytes) -> str:
    return ", ".join(map(str, data))


def _values(graph: Graph) -> str:
    """What may be restored: elements, bytes of one, whether it is signed, lowest, highest."""
    rows = []
    for learned in graph.learned:
        tensor = learned.tensor
        low, high = (int(end) for end in graph.admitted_range(tensor))
        signed = int(tensor.dtype.startswith("i"))
        rows.append(f"{{{tensor.size}, {tensor.nbytes // tensor.size}, {signed}, {low}, {high}}}")
    return ", ".join(rows)


def write_forms(folder: Path) -> None:
    """A library of each form, its sources side by side, and forms.h about all of them."""
    key = Ed25519PrivateKey.from_private_bytes(SECRET)
    public = folder / "key.pub"
    folder.mkdir(parents=True, exist_ok=True)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    base = Package(classifier(), {}, {})
    lines = ["// Made by tests/delta_forms.py.", f"#define SECRET {{{_listed(SECRET)}}}"]
    lines.append(f"#define PUBLIC {{{_listed(key.public_key().public_bytes_raw())}}}")
    rows = []
    for name, adapter in FORMS.items():
        placed = prepared(base, adapter)
        export_c(placed, folder / name, ANY, name=name, device_key=public)
        drawn = drawn_values(placed.graph, np.random.default_rng(1), None)
        state = Delta.of(base.graph, adapter, drawn).state(base)
        package = bytes.fromhex(placed.sha256)
        lines += [
            f'#include "{name}.h"',
            f"static const uint8_t {name}_good[] = {{{_listed(state)}}};",
            f"static const struct values {name}_values[] = {{{_values(placed.graph)}}};",
        ]
        rows.append(
            f"    {{{name}_init, {name}_save, {name}_restore, {name}_restore_signed, "
            f"{name}_invoke,\n     {name}_good, sizeof {name}_good, {name}_values,\n"
            f"     sizeof {name}_values / sizeof {name}_values[0], {{{_listed(package)}}}}},"
        )
    lines += ["static const struct form forms[] = {", *rows, "};", ""]
    (folder / "forms.h").write_text("\n".join(lines))


if __name__ == "__main__":
    write_forms(Path(sys.argv[1]))
