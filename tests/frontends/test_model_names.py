"""Names and places that a user chooses: kept to the letter, or refused with a reason."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikelet
from every_kind import NETWORKS
from spikelet.codegen.interface import _TAKEN
from spikelet.errors import SpikeletError, UsageError
from spikelet.graph.target import ANY
from spikelet.package import Package
from spikelet.run.exported import export_c
from support import need

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype(np.float32)
# Of the headers that firmware and its libraries include.
HEADERS = (
    "unistd.h", "stdio.h", "stdlib.h", "string.h", "math.h", "errno.h", "fcntl.h", "signal.h",
    "sys/stat.h", "sys/socket.h", "netinet/in.h", "pthread.h", "time.h", "limits.h", "poll.h",
)  # fmt: skip


def of_torch(name: Any) -> spikelet.Package:
    need("torch")
    from torch import nn

    return spikelet.export(nn.Linear(4, 3), X[:1], X, name=name)


def of_snntorch(name: Any) -> spikelet.Package:
    need("snntorch")
    import snntorch
    from torch import nn

    net = nn.Sequential(nn.Linear(4, 3), snntorch.Leaky(beta=0.9, init_hidden=True, output=True))
    return spikelet.export(net, X[:1], X, name=name, options=spikelet.Spiking(steps=4))


@pytest.mark.parametrize("front_end", [of_torch, of_snntorch])
def test_a_name_is_kept_or_refused(front_end: Callable[[Any], spikelet.Package]) -> None:
    for name in ("net", "n2", "a_name_of_thirty_characters_or_so"[:30]):
        assert front_end(name).graph.name == name
    for name in ("int", "a" * 200, "9a", None, "", "spk_net", "a__b", "a b", "x", 3, b"net"):
        with pytest.raises(SpikeletError, match="name is ") as caught:
            front_end(name)
        assert caught.value.cause and caught.value.next.startswith("name=")


def test_no_name_of_a_library_makes_a_macro_of_the_system(tmp_path: Path) -> None:
    """Found in the headers of this computer, which must not have NAME_OK, NAME_STEPS, ..."""
    need("gcc")
    made = export_c(Package(NETWORKS[0](), {}, {}), tmp_path / "lib", ANY, name="model_")
    own = (tmp_path / "lib" / "include" / f"{made.prefix}.h").read_text()
    ends = set(re.findall(r"\bMODEL__([A-Z0-9_]+)\b", own))
    assert {"OK", "STEPS"} <= ends
    text = "".join(f"#include <{header}>\n" for header in HEADERS)
    done = subprocess.run(
        ["gcc", "-D_GNU_SOURCE", "-E", "-dM", "-"], input=text, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    macros = re.findall(r"#define ([A-Z]\w*)", done.stdout)
    clashes = {
        macro: name
        for macro in macros
        for end in ends
        if macro.endswith(f"_{end}") and (name := macro.removesuffix(f"_{end}").lower())
    }
    assert {"X_OK", "R_OK"} <= set(clashes)
    assert set(clashes.values()) <= _TAKEN, clashes
    for name in ("x", "main", "string", "spk_x"):
        with pytest.raises(UsageError, match="no name of a C library") as caught:
            export_c(Package(NETWORKS[0](), {}, {}), tmp_path / "other", ANY, name=name)
        assert "--name model_" in caught.value.next


def test_a_place_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    """Whatever a user has written from Python: into a folder, and below a file."""
    package = of_torch("net")
    session = package.run("native", X[:2], session=tmp_path / "session")
    (tmp_path / "file").touch()
    writers: list[Callable[[Path], object]] = [package.save, session.report, package.export_onnx]
    for write in writers:
        for place in (tmp_path, tmp_path / "file" / "below" / "x"):
            with pytest.raises(UsageError, match="cannot be written") as caught:
                write(place)
            assert caught.value.cause and caught.value.next
    with pytest.raises(UsageError):
        package.export_c(tmp_path / "file" / "below")
    with pytest.raises(SpikeletError, match="is a folder, not a file"):
        spikelet.load(tmp_path)
