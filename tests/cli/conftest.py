"""A small package, and the command line called in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_support import Result, Spikelet, small_package
from spikelet.cli import main


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "small.spk"
    small_package().save(path)
    return path


@pytest.fixture
def spikelet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Spikelet:
    """Call the command line in an empty folder; always checks that errors are no stack traces."""
    monkeypatch.chdir(tmp_path)
    for name in ("SPIKELET_DEBUG", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        code = ended.value.code
        result = Result(code if isinstance(code, int) else 0, out, err)
        assert "Traceback" not in result.err and result.code != 70, result.err
        return result

    return call
