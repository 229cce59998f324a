"""What commands share: how they read, say, and name a bundle."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

BundleOption = Annotated[
    Path | None, typer.Option("--bundle", metavar="DIR", help="A bundle's folder; the problem's own if not given.")
]
VersionArgument = Annotated[
    str | None, typer.Argument(metavar="[VERSION]", help="One in the registry: its number, digest or alias.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


def group(**settings: Any) -> typer.Typer:  # noqa: ANN401 - whatever Typer takes
    """Make a group of commands."""
    return typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, **settings)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    """Print facts."""
    say(json.dumps(value, indent=1))


def read() -> tuple[Any, Any]:
    """Read params and settings."""
    from tandem.params import Params  # noqa: PLC0415
    from tandem.settings import Settings  # noqa: PLC0415

    return Params.load(), Settings.load()


def ends_in_order(*signals: signal.Signals) -> None:
    """Put back what was begun when one of these signals comes, and end.

    Told again, as `make` passes on what its group got, go on with that.
    """

    def end(sent: int, _: FrameType | None) -> NoReturn:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + sent)

    for each in signals:
        if signal.signal(each, end) == signal.SIG_IGN and each == signal.SIGHUP:  # as `nohup` has it
            signal.signal(each, signal.SIG_IGN)


def clock() -> Any:  # noqa: ANN401 - imported when it is needed
    """Give world time."""
    from tandem.clock import Clock  # noqa: PLC0415
    from tandem.problem import load_problem  # noqa: PLC0415

    params, settings = read()
    return Clock.of(load_problem(params.problem), params, settings)


def registry() -> Any:  # noqa: ANN401 - imported when it is needed
    """Open the problem's registry."""
    from tandem.registry import Registry  # noqa: PLC0415

    params, settings = read()
    return Registry(params.problem, settings, clock())


@contextmanager
def chosen(version: str | None, folder: Path | None) -> Iterator[Any]:
    """Open a version's bundle, or that of a folder; the problem's own if neither is named."""
    from tandem.bundle import Bundle  # noqa: PLC0415

    if version and folder:
        msg = "name a VERSION or --bundle, not both"
        raise typer.BadParameter(msg)
    if version:
        versions = registry()
        with TemporaryDirectory(prefix="tandem-") as place:
            yield versions.fetch(versions.find(version), Path(place) / "bundle")
    else:
        params, settings = read()
        yield Bundle.open(folder or settings.of(params.problem) / "bundle")
