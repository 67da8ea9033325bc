"""What a person is shown of what is installed: by use, with the commands that mend it below."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from spikelet.board import USES, Check
from spikelet.board.doctor import MORE
from spikelet.cli.terminal import Fitted, table

MORE_TITLE = "other boards and toolchains, plug-ins, and Spikelet's own tests"


def missing_checks(checks: Sequence[Check], use: str) -> list[Check]:
    """What a use cannot do without and is not there."""
    return [check for check in checks if check.use == use and check.needed and not check.ok]


def render_doctor(checks: Sequence[Check], uses: Sequence[str] | None) -> list[RenderableType]:
    """A table a use.

    Args:
        checks: all of them.
        uses: that are asked for; None for all, and what else there is.
    """
    shown: list[RenderableType] = []
    wanted = uses or ["run"]
    for use in uses or [*USES, MORE]:
        own = [check for check in checks if check.use == use]
        if use == MORE:
            shown.append(Text(MORE_TITLE, "dim"))
        else:
            shown.append(_verdict(use, missing_checks(checks, use), use in wanted))
        made = table("", "", "what", "found")
        made.title, made.show_header = None, False
        for check in own:
            made.add_row(_state(check, use in wanted), check.name, check.found)
        shown += [Fitted(made, (), ("found",)), *_mend(own), ""]
    return shown[:-1]


def _verdict(use: str, missing: Sequence[Check], wanted: bool) -> Text:
    absent = ", ".join(check.name for check in missing)
    style = "bold green" if not missing else "bold red" if wanted else "bold yellow"
    line = Text(f"{use}: {f'missing {absent}' if missing else 'ready'}", style)
    line.append(f"   {USES[use]}", "not bold dim")
    return line


def _state(check: Check, wanted: bool) -> Text:
    if check.ok:
        return Text("ok", "green")
    if wanted and check.needed:
        return Text("missing", "bold red")
    return Text("broken" if check.broken else "absent", "yellow")


def _mend(checks: Sequence[Check]) -> list[Text]:
    """A command a line, whole, so that it can be copied."""
    lines = []
    for check in checks:
        # What stands for several tools is mended by the first of them, which is below.
        if not check.fix or (check.use == "flash" and check.needed and not check.broken):
            continue
        line = Text(f"  {check.name.strip()}: ", "dim", no_wrap=True, overflow="ignore")
        line.append(check.fix, "not dim bold")
        lines.append(line)
    return lines
