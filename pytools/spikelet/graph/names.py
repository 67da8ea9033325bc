"""Names of tensors that C can carry."""

from __future__ import annotations

import re

_LENGTH = 24
# Words of C, of the generated file and of the standard headers that a tensor must not have.
_RESERVED = frozenset(
    re.findall(
        r"\w+",
        "auto break case char const continue default do double else enum extern float for goto if "
        "inline int long register restrict return short signed sizeof static struct switch typedef "
        "union unsigned void volatile while asm typeof bool true false main linux unix i386 arm "
        "t x y seed arena saturations trace tensors package_sha256 model_start model_step "
        "model_finish riscv scratch row",
    )
)


def identifier(name: str, instead: str) -> str:
    """A C identifier like `name`, or `instead` where none that is short comes out."""
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not word or len(word) > _LENGTH or word.startswith("spk"):
        word = instead
    if word[0].isdigit() or word in _RESERVED or word.endswith("_config"):
        word = f"n_{word}"
    return word
