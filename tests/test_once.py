from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from once import Once

ASK = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from once import Once

def slowly(place):
    time.sleep(0.3)
    (place / str(os.getpid())).touch()
    return os.getpid()

print(Once(Path(sys.argv[2]))("slow", slowly))
"""


def test_of_many_processes_one_makes_it(tmp_path: Path) -> None:
    words = [sys.executable, "-c", ASK, str(Path(__file__).parent), str(tmp_path)]
    asking = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate()[0].strip() for process in asking]
    assert len(set(answers)) == 1
    assert [p.name for p in (tmp_path / "slow").iterdir()] == [answers[0]]


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
