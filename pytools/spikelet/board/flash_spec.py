"""`[flash.TOOL]` of a board.toml: which tool writes the board's flash, and its command line."""

from __future__ import annotations

import difflib
import string
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict, Field

# What stands for a file that is written for the tool, and its other placeholders.
FILES = ("elf", "hex", "bin", "uf2")
PLACEHOLDERS = (*FILES, "image", "port", "chip", "base")
COPY = "copy"


@dataclass(frozen=True)
class FlashTool:
    """A program that writes flash.

    Attributes:
        program: looked for on the PATH; empty for `copy`, which Spikelet does by itself.
        install: the command that installs it; {python} is this interpreter, {apt} the system's way.
        arguments: with placeholders.
        then: arguments of a second call, after the first has succeeded; empty for none.
        chip: what `chip` of board.toml is to this tool.
    """

    program: str
    install: str
    arguments: tuple[str, ...]
    then: tuple[str, ...] = ()
    chip: str = ""

    @property
    def placeholders(self) -> set[str]:
        """Names of the placeholders that its arguments have; raises ValueError."""
        words = (*self.arguments, *self.then)
        return {name for word in words for _, name, _, _ in _PARSER.parse(word) if name is not None}


_PARSER = string.Formatter()
TOOLS = {
    "pyocd": FlashTool(
        "pyocd", "{python} -m pip install pyocd",
        ("load", "--no-wait", "--target", "{chip}", "{hex}"),
        chip="a target that `pyocd list --targets` names",
    ),
    "openocd": FlashTool(
        "openocd", "{apt} openocd",
        ("-f", "{chip}", "-c", "program {{{hex}}} verify reset exit"),
        chip="a file of its scripts, board/NAME.cfg",
    ),
    "probe-rs": FlashTool(
        "probe-rs", "cargo install probe-rs-tools --locked",
        ("download", "--chip", "{chip}", "{elf}"), ("reset", "--chip", "{chip}"),
        chip="a name that `probe-rs chip list` has",
    ),
    "picotool": FlashTool(
        "picotool", "{apt} picotool    (from Debian 13 on; or build "
        "https://github.com/raspberrypi/picotool)",
        ("load", "-v", "-x", "{elf}"),
    ),
    "esptool": FlashTool(
        "esptool", "{python} -m pip install esptool",
        ("--chip", "{chip}", "--port", "{port}", "write-flash", "0x0", "{bin}"),
        chip="a name that `esptool --help` lists",
    ),
    "wlink": FlashTool(
        "wlink", "cargo install --git https://github.com/ch32-rs/wlink",
        ("flash", "--chip", "{chip}", "--address", "{base}", "{bin}"),
        chip="a family that `wlink --help` lists",
    ),
    "dfu-util": FlashTool(
        "dfu-util", "{apt} dfu-util",
        ("--device", "{chip}", "--alt", "0", "--dfuse-address", "{base}:leave", "--download",
         "{bin}"),
        chip="the USB vendor and product, 0483:df11",
    ),
    COPY: FlashTool("", "", ("{hex}",), chip="the label of the board's USB drive"),
}  # fmt: skip


class FlashSpec(BaseModel):
    """How one tool writes this board's flash.

    Attributes:
        chip: what the tool calls the part.
        family: of a .uf2 file, as Microsoft's list of families has it.
        program: of a tool that is not known here, or another one's path.
        install: the command that installs it.
        arguments: in place of the tool's own; {elf}, {hex}, {bin}, {uf2}, {port}, {chip}, {base}
            (the first address of flash) and {image} (a file of the tool's own) are filled in.
        then: arguments of a second call, in place of the tool's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    chip: str = ""
    family: int | None = Field(default=None, ge=0, lt=2**32)
    program: str = ""
    install: str = ""
    arguments: tuple[str, ...] = ()
    then: tuple[str, ...] | None = None

    def tool(self, name: str) -> FlashTool:
        """The tool of that name as this board uses it.

        Raises:
            ValueError: an unknown tool without arguments, or a placeholder that nothing fills.
        """
        known = TOOLS.get(name)
        if known is None and not self.arguments:
            near = difflib.get_close_matches(name, TOOLS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"{name}: is no tool that is known here, so it needs `arguments`; {hint}"
                f"known are {', '.join(TOOLS)}"
            )
        known = known or FlashTool(name, "", ())
        tool = replace(
            known,
            program=self.program or known.program,
            install=self.install or known.install,
            arguments=self.arguments or known.arguments,
            then=known.then if self.then is None else self.then,
        )
        self._check(name, tool)
        return tool

    def _check(self, name: str, tool: FlashTool) -> None:
        used = tool.placeholders
        if wrong := sorted(used - set(PLACEHOLDERS)):
            listed = ", ".join(f"{{{word}}}" for word in PLACEHOLDERS)
            raise ValueError(f"{name}: {{{wrong[0]}}} is no placeholder; there are {listed}")
        if not tool.program and (len(tool.arguments) != 1 or not used <= set(FILES)):
            raise ValueError(f"{name}: `arguments` is one file: {{hex}}, {{bin}} or {{uf2}}")
        if not self.chip and ("chip" in used or not tool.program):
            raise ValueError(f"{name}: needs `chip`: {tool.chip or 'its arguments have {chip}'}")
        if "uf2" in used and self.family is None:
            raise ValueError(f"{name}: {{uf2}} needs `family`, a number of Microsoft's list")
