from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from once import Once


def slowly(place: Path) -> int:
    time.sleep(0.3)
    (place / f"{os.getpid()}").touch()
    return os.getpid()


def ask(folder: Path) -> int:
    return Once(folder)("slow", slowly)


def test_of_many_processes_one_makes_it(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        answers = pool.map(ask, [tmp_path] * 4, chunksize=1)
    assert len(set(answers)) == 1
    assert [p.name for p in (tmp_path / "slow").iterdir()] == [f"{answers[0]}"]


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    once = Once(tmp_path)
    with pytest.raises(ZeroDivisionError):
        once("it", lambda _: 1 // 0)
    assert once("it", lambda _: 2) == 2
    assert once("it", lambda _: 3) == 2
    assert once("other", lambda _: 3) == 3


def test_workers_share_one_folder(once: Once, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Beside the folders of workers, or in that of the run, which has no workers."""
    base = tmp_path_factory.getbasetemp()
    worker = base.name.startswith("popen-")
    assert once.folder.parent == (base.parent if worker else base)
