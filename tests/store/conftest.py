"""A small learner on the native board, and the same with a storage that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from learned_models import learner_graph
from spikelet.board import Firmware, find_board
from spikelet.package import Package
from spikelet.paths import sim_dir
from spikelet.run import make
from support import need


@pytest.fixture(scope="session")
def package() -> Package:
    return Package(learner_graph())


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Package, str], Firmware]:
    """Images by package and board, each built once; `faulty` is the board whose storage fails."""
    made: dict[tuple[str, str], Firmware] = {}

    def image(package: Package, board: str) -> Firmware:
        key = (package.sha256, board)
        if key not in made:
            need("gcc")
            found = find_board(str(sim_dir() / "faulty_storage") if board == "faulty" else board)
            folder: Path = tmp_path_factory.mktemp("image")
            made[key] = make(package, found, folder, toolchain="gcc").firmware
        return made[key]

    return image
