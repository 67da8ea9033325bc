"""Draws docs/overview.svg, the picture of README and documentation: `python tools/picture.py`."""

from __future__ import annotations

from pathlib import Path

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "overview.svg"
WIDTH, HEIGHT = 540, 470
# Left, top, width, lines, colour.
BOXES = (
    (10, 10, 165, ("PyTorch",), "#e3f2fd"),
    (187, 10, 165, ("snnTorch",), "#e3f2fd"),
    (364, 10, 166, (".tflite, .onnx",), "#e3f2fd"),
    (95, 105, 350, ("integer graph", "NAME.spk: the model"), "#b2dfdb"),
    (10, 215, 240, ("golden", "numpy: what it means"), "#fff3e0"),
    (290, 215, 240, ("model.c", "no heap, no library"), "#fff3e0"),
    (290, 310, 240, ("device", "host, emulator or board"), "#fff3e0"),
    (
        10,
        405,
        520,
        ("every layer and step: mismatches = 0", "or the element is named"),
        "#b2dfdb",
    ),
)
# From, to; and what stands beside it: text, and its place.
ARROWS = (
    ((92, 48), (180, 105)),
    ((270, 48), (270, 105)),
    ((447, 48), (360, 105)),
    ((180, 159), (130, 215)),
    ((360, 159), (410, 215)),
    ((410, 269), (410, 310)),
    ((130, 269), (130, 405)),
    ((410, 364), (410, 405)),
)
WORDS = (
    (282, 84, "train, import"),
    (398, 192, "codegen"),
    (422, 295, "gcc or zig"),
    (142, 345, "bit for bit"),
    (422, 390, "link"),
)


def box(left: int, top: int, width: int, lines: tuple[str, ...], colour: str) -> str:
    """A rectangle with centred lines; the first is bold."""
    height = 16 + 19 * len(lines) + 3 * (len(lines) == 1)
    middle = left + width / 2
    text = "".join(
        f'<text x="{middle:g}" y="{top + 23 + 19 * i}" text-anchor="middle"'
        f' font-weight="{700 - 300 * min(i, 1)}">{line}</text>'
        for i, line in enumerate(lines)
    )
    return (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="6" fill="{colour}"'
        f' stroke="#455a64"/>{text}'
    )


def picture() -> str:
    """The file's text."""
    arrows = [
        f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y - 2}" stroke="#455a64" stroke-width="1.6"'
        ' marker-end="url(#tip)"/>'
        for (x, y), (to_x, to_y) in ARROWS
    ]
    words = [f'<text x="{x}" y="{y}" font-size="14">{text}</text>' for x, y, text in WORDS]
    return "\n".join(
        [
            "<!-- Made by tools/picture.py. -->",
            '<svg xmlns="http://www.w3.org/2000/svg"'
            f' viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
            ' font-family="system-ui, sans-serif" font-size="16" fill="#263238" role="img"'
            ' aria-label="A network becomes an integer graph; golden and device run it and are'
            ' compared bit for bit">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
            ' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#455a64"/></marker>'
            "</defs>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            *(box(*each) for each in BOXES),
            *arrows,
            *words,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
