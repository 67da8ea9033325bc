"""Fetches the C of Monocypher into the cache, for the tests of signatures on devices: once.

python tools/fetch_monocypher.py

It is that of the Python package monocypher-py, which holds Monocypher 3.1.2 with its Ed25519, as
published, by its hash. Only the tests need it: firmware of your own takes the newest release from
https://monocypher.org.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

from spikelet.board.build import usable_cache

PACKAGE = "monocypher-py==0.0.3"
SHA256 = "9f1da74704ade57be8f1f93c75526342b0c4515a9548a388cc2f6ddc62ac94a3"
SOURCES = "monocypher-py-0.0.3/src/monocypher-3.1.2-src"
# pip asks a source package for its metadata; its setup.py is of the time of these.
SETUP = ("setuptools==65.5.1", "wheel==0.43.0", "cffi==2.1.1")


def place() -> Path:
    """The folder that holds monocypher.c and optional/, once it has been fetched."""
    return usable_cache() / "monocypher-3.1.2"


def main() -> None:
    """Fetch it where it is not there."""
    to = place()
    if not (to / "optional" / "monocypher-ed25519.c").is_file():
        with tempfile.TemporaryDirectory(prefix="spikelet-monocypher-") as name:
            fetch(Path(name), to)
    print(to)


def fetch(work: Path, to: Path) -> None:
    """Download in an environment of its own, compare the hash, keep the C."""
    venv.create(work / "env", with_pip=True)
    programs = "Scripts" if sys.platform == "win32" else "bin"
    pip = [str(work / "env" / programs / "python"), "-m", "pip", "--quiet"]
    subprocess.run([*pip, "install", *SETUP], check=True)
    wanted = [*pip, "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    subprocess.run([*wanted, "-d", str(work), PACKAGE], check=True)
    (archive,) = work.glob("*.tar.gz")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{archive.name}: not the file that was looked at")
    with tarfile.open(archive) as opened:
        opened.extractall(work, filter="data")
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(work / SOURCES, to)


if __name__ == "__main__":
    main()
