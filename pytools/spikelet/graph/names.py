"""Names of tensors that C can carry."""

from __future__ import annotations

import re

from spikelet.graph.declared import NAME_LENGTH

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


def identifier(name: str, instead: str, length: int = _LENGTH) -> str:
    """A C identifier like `name`, or `instead` where none that is short comes out."""
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not word or len(word) > length or word.startswith("spk"):
        word = instead
    if word[0].isdigit() or word in _RESERVED or word.endswith("_config"):
        word = f"n_{word}"
    return word


def why_no_name(name: object) -> tuple[str, str, str] | None:
    """Why a model cannot have the name that someone chose: what, cause, next; None if it can."""
    near = identifier(name, "net", NAME_LENGTH) if isinstance(name, str) else "net"
    if isinstance(name, str) and near == name.lower():
        return None
    return (
        f"name is {name!r:.60}, expected a C identifier",
        f"a model's name begins with a letter, has letters, digits and single underscores, at most "
        f"{NAME_LENGTH}, and is no word of C",
        f"name={near!r}, for example",
    )
