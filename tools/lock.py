"""Writes requirements.lock: what `make` installs, each file by its hash, for every platform.

`make lock` calls it after a change of pyproject.toml or constraints.txt: versions are those of
constraints.txt, uv resolves what they need. PyTorch and what only its CUDA build needs are left
out: which build of it is the user's choice (TORCH_FLAGS).
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PYTHON = "3.11.7"  # the oldest that is tested
EXTRAS = ("train", "dev", "docs")
BUILD = ("hatchling", "editables")
# Without the torchvision and torchaudio that they ask for: the CPU build does not load those.
ALONE = ("norse", "spikingjelly")
LEFT_OUT = re.compile(r"(torch|triton|cuda-.*|nvidia-.*)==")
HEAD = "# Written by tools/lock.py.\n"


def compiled(given: str, *sources: str) -> list[str]:
    """Packages, each with its hashes, of requirement files and of `given` lines."""
    command = [
        sys.executable, "-m", "uv", "pip", "compile", *sources, "-", "-c", "constraints.txt",
        "--generate-hashes", "--universal", "--python-version", PYTHON, "--no-header",
        "--no-annotate", "--quiet",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, input=given, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return re.split(r"\n(?=\S)", done.stdout.strip("\n"))


def main() -> None:
    """Write the file."""
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    found = compiled("\n".join(BUILD), "pyproject.toml", *extras)
    found += compiled("\n".join(ALONE), "--no-deps")
    kept = sorted(block for block in found if not LEFT_OUT.match(block))
    LOCK.write_text(HEAD + "\n".join(kept) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
