"""Arguments of `export` that no type checker looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
snn = pytest.importorskip("snntorch")

from spikelet.frontends.snntorch import ExportError, Poisson, export  # noqa: E402


def network() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(4, 3), snn.Leaky(beta=0.9))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"encoder": Poisson}, r"encoder is Poisson.*\n.*the class.*\n.*encoder=Poisson\(\)"),
        ({"encoder": "poisson"}, r"encoder is 'poisson', expected DirectCurrent\("),
        ({"fraction_bits": 16}, "fraction_bits is 16, expected an integer of 0 to 15"),
        ({"fraction_bits": -1}, "fraction_bits is -1"),
        ({"fraction_bits": 2.5}, r"fraction_bits is 2\.5"),
        ({"steps": 2.0}, r"steps is 2\.0, expected an integer of 1 to 32767"),
        ({"steps": "8"}, "steps is '8'"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": True}, "steps is True"),
        ({"name": 3}, "name is 3"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ExportError, match=text) as caught:
        export(network(), **{"steps": 2, **arguments})
    assert caught.value.exit_code == 2


def test_integers_of_numpy_are_integers() -> None:
    graph = export(network(), steps=np.int64(2), fraction_bits=np.int64(3))  # type: ignore[arg-type]
    assert graph.steps == 2 and type(graph.to_json()["steps"]) is int
