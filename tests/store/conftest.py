"""A small learner on the native board, and the same with a storage that fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from learned_models import learner_graph
from once import Once
from spikelet.board import Firmware, find_board
from spikelet.package import Package
from spikelet.paths import sim_dir
from spikelet.run import make
from support import need


@pytest.fixture(scope="session")
def package() -> Package:
    return Package(learner_graph())


@pytest.fixture(scope="session")
def images(once: Once) -> Callable[[Package, str], Firmware]:
    """Images by package and board, each built once; `faulty` is the board whose storage fails."""

    def image(package: Package, board: str) -> Firmware:
        need("gcc")
        of = find_board(str(sim_dir() / "faulty_storage") if board == "faulty" else board)
        return once(
            f"store-{package.sha256[:12]}-{board}",
            lambda folder: make(package, of, folder, toolchain="gcc").firmware,
        )

    return image
