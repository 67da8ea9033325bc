"""An input of each step: what golden makes of it, and how it is kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spikelet.graph import Graph, GraphError, Tensor
from spiking_graphs import event_frames, event_network


@pytest.mark.parametrize("dtype", ["bit", "u8"])
def test_a_graph_of_events_is_the_graph_of_frames(dtype: str) -> None:
    x = event_frames(dtype, samples=20)
    whole = event_network(framed=True).run({"x": x}, trace=True)
    made = event_network(dtype).run({"x": x}, trace=True)
    assert len(np.unique(made.outputs["counts"], axis=0)) > 5
    for name, values in made.trace.items():
        np.testing.assert_array_equal(values, whole.trace[name], name)


def test_an_input_of_each_step_is_kept_in_the_package() -> None:
    graph = event_network()
    again = Graph.from_json(graph.to_json(), graph.constants())
    assert again.stream == graph.stream and graph.stream is not None
    assert graph.to_json()["inputs"][0]["per_step"] is True
    # What older packages hold stays as it was: their hash is made of it.
    assert "per_step" not in event_network(framed=True).to_json()["inputs"][0]


def test_inputs_that_cannot_be_of_each_step_are_refused() -> None:
    graph = event_network()
    with pytest.raises(GraphError, match=r"x: a input i8 of each step, expected an input of bits"):
        Tensor("x", "i8", (3,), kind="input", per_step=True)
    with pytest.raises(GraphError, match="two inputs of each step"):
        more = [*graph.inputs, dataclasses.replace(graph.inputs[0], name="z")]
        Graph("two", graph.steps, more, graph.nodes, graph.outputs)
    with pytest.raises(GraphError, match=r"expected uint8 of shape \(N, 8, 6, 5, 2\)"):
        graph.run({"x": np.zeros((1, 6, 5, 2), np.uint8)})
