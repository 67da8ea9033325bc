"""Learners on spiking backbones: what they read are firing rates of all time steps."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest

from graphs import digits_like, random_inputs
from learning import USUAL, device_equals_twin
from spikelet.learn.backbone import features, readable, until
from spikelet.learn.continual.protocol import attach, learner
from spikelet.learn.learner import Setting
from spikelet.paths import firmware_dir
from support import need


def test_spikes_are_read_as_rates() -> None:
    graph = digits_like(steps=20)
    spikes = features(graph)
    assert graph.tensors[spikes].dtype == "bit"
    counted, rate = readable(graph, spikes)
    assert readable(counted, rate) == (counted, rate)
    tensor = counted.tensors[rate]
    assert (tensor.dtype, tensor.shape) == ("i8", graph.tensors[spikes].shape)
    inputs = random_inputs(graph, 6, np.random.default_rng(2))
    found = until(counted, rate).run(inputs).outputs[rate]
    trace = graph.run(inputs, trace=True).trace[spikes]
    shares = np.sum(trace, axis=0).reshape(found.shape) / 20
    assert 0 < shares.max() and len(np.unique(shares)) > 3
    assert np.abs(found / 127 - shares).max() <= 0.5 / 127 + 1e-4


@pytest.mark.parametrize("text", ["streaming_lda", "finetune,precision=i16"])
@pytest.mark.parametrize("target", USUAL)
def test_device_equals_twin(target: str, text: str, tmp_path: Path) -> None:
    graph, rate = readable(digits_like(), "lif1.spikes")
    random = np.random.default_rng(5)
    calibration = random_inputs(graph, 60, random)
    where = Setting(rate, 4, 0, calibration, np.arange(60) % 4)
    taught = attach(graph, learner(text), where)
    device_equals_twin(
        target, taught, random_inputs(graph, 40, random), np.arange(40) % 4, tmp_path,
        commit_after=(20,),
    )  # fmt: skip


@pytest.mark.parametrize("scalar", ["F32", "F16", "I16", "I8"])
def test_no_two_headers_use_one_name(scalar: str, tmp_path: Path) -> None:
    need("gcc")
    firmware = firmware_dir()
    headers = itertools.chain(
        sorted((firmware / "kernels").glob("*.h")), sorted((firmware / "learn").glob("*.h"))
    )
    names = [f'#include "{header.parent.name}/{header.name}"\n' for header in headers]
    assert len(names) > 50
    source = tmp_path / "all.c"
    source.write_text("".join(names))
    chosen = [f"-DSPK_SCALAR_{kind}={int(kind == scalar)}" for kind in ("F32", "F16", "I16", "I8")]
    done = subprocess.run(
        ["gcc", "-std=c11", "-ffreestanding", "-fsyntax-only", *chosen,
         f"-I{firmware}", f"-I{firmware / 'include'}", str(source)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
