"""What fuzzing found, and a short campaign of its structure-aware mutations."""

from __future__ import annotations

import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from campaign import unpack  # noqa: E402
from fuzz_importers import SECONDS, TARGETS, is_allowed  # noqa: E402
from package_targets import ADAPTERS  # noqa: E402

FOUND = sorted(path for path in (HERE / "regressions").iterdir() if path.suffix[1:] in TARGETS)
LARGEST = 6000  # bytes: a campaign of a hundred examples takes seconds
SEEDS = {name: [s for s in t.seeds() if len(s) < LARGEST] for name, t in TARGETS.items()}


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_a_file_that_was_found_is_read_or_refused(path: Path) -> None:
    began = time.process_time()
    tracemalloc.start()
    is_allowed(TARGETS[path.suffix[1:]].parse, path.read_bytes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - began < SECONDS
    assert peak < 200 << 20


@pytest.mark.parametrize("name", TARGETS)
def test_kept_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    files = sorted(unpack(name, tmp_path).iterdir())
    began = time.process_time()
    for path in files:
        is_allowed(TARGETS[name].read, path.read_bytes())
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_changed_number_is_read_or_refused(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    found = data.draw(st.sampled_from(SEEDS[name]))
    for seed in data.draw(st.lists(st.integers(0, 1 << 32), min_size=1, max_size=3)):
        found = target.mutate(found, seed)
    began = time.process_time()
    is_allowed(target.parse, found)
    assert time.process_time() - began < SECONDS


def test_every_seed_is_a_model_that_can_be_read_and_changed() -> None:
    for name, target in TARGETS.items():
        assert len(SEEDS[name]) >= {"spk": 15, "spkd": len(ADAPTERS)}.get(name, 20)
        assert all(is_allowed(target.read, seed) for seed in SEEDS[name])
        for seed in SEEDS[name]:
            assert len({target.mutate(seed, i) for i in range(8)}) > 4
