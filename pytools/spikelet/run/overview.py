"""What a package holds and costs: for JSON, as text, and as a table and a picture."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from spikelet.codegen import by_width, generate, totals
from spikelet.codegen.picture import graph_svg, layer_html, layer_text
from spikelet.errors import UsageError
from spikelet.graph import Tensor
from spikelet.graph.states import neuron_states
from spikelet.graph.target import Target
from spikelet.metrics import error_text
from spikelet.package import Package
from spikelet.run.session_folder import BENCH

_NETWORKS = ("float", "integer")


@dataclass(frozen=True, repr=False)
class Summary:
    """What a package holds and what it costs: text when printed, a table and a picture in HTML.

    Attributes:
        package: that it is of.
        facts: as `spikelet inspect --json` prints them.

    >>> print(package.summary())
    tiny: x i8 (4,) -> linear_2 i8 (3,); 2 operators
    layer         operator         output  bits  MACs  flash B  RAM B
    -----------------------------------------------------------------
    linear_0      fully_connected  i8 8       8    32      136      8
    linear_2      fully_connected  i8 3       8    24       80      8
    -----------------------------------------------------------------
    an inference                                   56      216
    constants 216 B, arena 16 B
    accuracy float ... %, integer ... %
    """

    package: Package
    facts: dict[str, Any]

    @property
    def layers(self) -> list[dict[str, Any]]:
        """The layer table: name, op, kernel, phase, output, bits, work, flash and RAM of each."""
        rows: list[dict[str, Any]] = self.facts["layers"]
        return rows

    def with_bench(self, session: Path) -> Summary:
        """The same with what a bench measured: `tick`, and `ticks` of each layer.

        Args:
            session: the folder of a `spikelet bench` of this package.

        Raises:
            UsageError: it holds no figures of the layers, or those of another package.
        """
        return Summary(self.package, _measured(self.facts, session))

    def svg(self) -> str:
        """The graph as a picture: who reads whom; constants, work and output of each operator."""
        return graph_svg(self.package.graph, self.layers)

    def _memory(self) -> str:
        constants, arena = self.facts["weight_bytes"], self.facts["arena_bytes"]
        return f"constants {constants:,} B, arena {arena:,} B"

    def _accuracy(self) -> str:
        manifest = self.facts["manifest"]
        given = ((name, manifest.get(f"{name}_accuracy")) for name in _NETWORKS)
        said = ", ".join(
            f"{name} {100 * share:.2f} %" for name, share in given if share is not None
        )
        if said:
            return f"accuracy {said}"
        errors = {f"error {n}": error_text(manifest.get(f"{n}_error")) for n in _NETWORKS}
        return "; ".join(f"{title} {error}" for title, error in errors.items() if error)

    def __repr__(self) -> str:
        graph = self.package.graph.title()
        lines = (graph, layer_text(self.layers), self._memory(), self._accuracy())
        return "\n".join(filter(None, lines))

    def _repr_html_(self) -> str:
        said = ". ".join(filter(None, (self._memory(), self._accuracy())))
        return (
            f"<p><b>{escape(self.package.graph.title())}</b><br>{escape(said)}</p>{self.svg()}"
            f"<details><summary>layer table</summary>{layer_html(self.layers)}</details>"
        )


def summarise(package: Package, target: Target) -> Summary:
    """What a package takes in the kernels of an instruction set."""
    graph = package.graph
    with tempfile.TemporaryDirectory(prefix="spikelet-") as folder:
        made = generate(graph, package.sha256, Path(folder), target=target)
    rows = [layer.as_dict() for layer in made.layers]
    facts = {
        "package_sha256": package.sha256,
        "model": graph.name,
        "steps": graph.steps,
        "inputs": [_tensor(t) for t in graph.inputs],
        "outputs": [_tensor(graph.tensors[name]) for name in graph.outputs],
        "samples": len(next(iter(package.vectors.values()), ())),
        "layers": rows,
        "totals": totals(rows),
        "widths": by_width(rows),
        "states": [row.to_json() for row in neuron_states(graph)],
        "weight_bytes": made.const_bytes,
        "arena_bytes": made.plan.size,
        "arena_bound_bytes": made.plan.bound,
        "manifest": package.manifest,
    }
    return Summary(package, facts)


def _measured(facts: dict[str, Any], session: Path) -> dict[str, Any]:
    try:
        bench = json.loads((session / BENCH).read_text(encoding="utf-8"))
        ticks = {row["name"]: row["ticks"] for row in bench["layers"]}
        of, tick, counted = bench["package_sha256"], bench["tick"], bench["layer_measurement"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"session {session} has no figures of layers: {BENCH}: {error}",
            "it is no session of `spikelet bench`, or the bench broke off",
            "spikelet bench PKG --board B",
        ) from error
    if of != facts["package_sha256"] or not counted:
        what = f"figures of package {of}" if counted else "figures of whole inferences only"
        raise UsageError(
            f"session {session} has {what}; this package is {facts['package_sha256']}",
            "the package was made anew since, or the board counts no ticks by layer",
            "spikelet bench PKG --board B",
        )
    rows = [{**row, "ticks": ticks.get(row["name"])} for row in facts["layers"]]
    return {**facts, "tick": tick, "layers": rows, "widths": by_width(rows)}


def _tensor(tensor: Tensor) -> dict[str, Any]:
    """For JSON; what the lowest and the highest code stand for, None of labels and choices."""
    reals = None
    if tensor.dtype in ("i8", "u8") and not tensor.choices:
        reals = [(code - tensor.zero_point) * tensor.scale for code in tensor.limits]
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "bytes": tensor.nbytes,
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
        "real_values": reals,
        "choices": list(tensor.choices),
    }
