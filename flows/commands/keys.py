"""Keys that clients show to the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.shared import JsonOption, group, read, say, say_json

app = group(help="Keys that clients show.\n\nExample: tandem keys add shop --role client")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    role: Annotated[str, typer.Option(help="admin, developer, viewer or client.")] = "client",
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Requests a second that it may make of each worker.")
    ] = None,
) -> None:
    """Make a key, and print it: it is told once, and kept as a digest only.

    A server that runs takes it up within a second.

    Example: tandem keys add shop --role client --rate 100
    """
    from tandem.serving.access import ROLES  # noqa: PLC0415

    if not name.strip():
        msg = "say whose it is"
        raise typer.BadParameter(msg)
    if role not in ROLES:
        msg = f"there is no role {role!r}: there are {', '.join(ROLES)}"
        raise typer.BadParameter(msg)
    with _changing() as (path, keys):
        changed, told = keys.add(name, role, rate)
        changed.save(path)
    say(told)


@app.command("list")
def list_(*, as_json: JsonOption = False) -> None:
    """List whose keys there are, and what they may.

    Example: tandem keys list --json
    """
    from tandem.serving.access import Keys  # noqa: PLC0415

    _, settings = read()
    shown = [{"name": key.name, "role": key.role, "rate": key.rate} for key in Keys.load(settings.keys).keys]
    if as_json:
        say_json(shown)
    else:
        for key in shown:
            say(
                f"{key['name']:<20}  {key['role']:<9}  {'any rate' if key['rate'] is None else str(key['rate']) + '/s'}"
            )


@app.command()
def remove(name: Annotated[str, typer.Argument(help="Whose it is.")]) -> None:
    """Take a key away.

    A server that runs lets it in no more within a second.

    Example: tandem keys remove shop
    """
    with _changing() as (path, keys):
        keys.without(name).save(path)


@contextmanager
def _changing() -> Iterator[tuple[Path, Any]]:
    """Give the file and what it holds; nobody else changes it meanwhile."""
    from tandem.schedule import in_turn  # noqa: PLC0415
    from tandem.serving.access import Keys  # noqa: PLC0415

    _, settings = read()
    with in_turn(settings.schedule, "keys"):
        yield settings.keys, Keys.load(settings.keys)
