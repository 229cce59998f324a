"""World time."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import typer

from flows.commands.shared import JsonOption, clock, group, read, say, say_json

app = group(help="World time: show it, set it, let it run faster.\n\nExample: tandem clock speed 144")


@app.command("show")
def clock_show(*, as_json: JsonOption = False) -> None:
    """Say what time it is in the world, and how fast it goes.

    Example: tandem clock show --json
    """
    _clock_said(as_json=as_json)


@app.command("set")
def clock_set(
    moment: Annotated[datetime, typer.Argument(help="Where to go on from, UTC.")], *, as_json: JsonOption = False
) -> None:
    """Go on from another moment, as fast as before.

    Example: tandem clock set 2013-11-01T06:00:00
    """
    _clock_said(lambda clock: clock.at(moment), as_json=as_json)


@app.command("speed")
def clock_speed(
    speed: Annotated[float, typer.Argument(min=0, help="World seconds in a second: 1 is the wall's, 0 stands still.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Go on from now, faster or slower.

    Example: tandem clock speed 600
    """
    _clock_said(lambda clock: clock.at_speed(speed), as_json=as_json)


def _clock_said(change: Callable[[Any], Any] | None = None, *, as_json: bool) -> None:
    """Change the clock if asked to, and say what it shows."""
    now, (_, settings) = clock(), read()
    if change:
        now = change(now)
        now.save(settings.clock)
    shown = {"now": now.now().isoformat(), "speed": now.speed, "set": settings.clock.is_file()}
    say_json(shown) if as_json else say(f"{shown['now']} UTC, at {now.speed:g} world seconds a second")
