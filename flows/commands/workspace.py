"""Workspaces on a Docker host."""

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.shared import JsonOption, ends_in_order, group, read, say, say_json

app = group(help="Dev and prod on a Docker host, alike and apart.\n\nExample: tandem workspace up dev")

SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A variable other than the .tfvars says.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="dev, prod, or another that has a .tfvars.")]


def _place(name: str) -> Any:  # noqa: ANN401 - imported when it is needed
    from tandem.workspace import Place  # noqa: PLC0415

    _, settings = read()
    place = Place(name, settings.var)
    place.variables()  # a wrong name is told before anything is made or asked
    return place


@app.command()
def images(
    base: Annotated[str | None, typer.Option(help="The image that all are made from.")] = None,
) -> None:
    """Build the images that all workspaces run.

    Each once; their digests are written down for all workspaces. What did not change is not built again.

    Example: tandem workspace images --base tandem-base:bookworm
    """
    from flows.workspace import images as flow  # noqa: PLC0415
    from tandem.workspace import Place  # noqa: PLC0415

    _, settings = read()
    say(f"wrote {flow(Place('images', settings.var), base)}")


@app.command()
def up(name: NameArgument, given: SetOption = None) -> None:
    """Stand a workspace up, or change what differs.

    Secrets that are missing are made. No image is built. Ends with what runs where.

    Example: tandem workspace up dev
    """
    from flows.workspace import status as look  # noqa: PLC0415
    from flows.workspace import up as flow  # noqa: PLC0415
    from tasks.show import workspace_report  # noqa: PLC0415
    from tasks.terraform import outputs  # noqa: PLC0415

    place = _place(name)
    if code := flow(place, *read(), given or []):
        raise typer.Exit(code)
    say(workspace_report(place, outputs(place)["address"], look(place)))


@app.command()
def plan(name: NameArgument, given: SetOption = None) -> None:
    """Say what would change.

    Terraform's own output, and its exit code: 0 nothing would, 1 an error, 2 something would.

    Example: tandem workspace plan prod
    """
    from flows.workspace import plan as flow  # noqa: PLC0415

    raise typer.Exit(flow(_place(name), given or []))


@app.command()
def down(
    name: NameArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, as where nobody could answer.")] = False,
) -> None:
    """Take a workspace away, with its data; secrets stay.

    Example: tandem workspace down dev --yes
    """
    from flows.workspace import down as flow  # noqa: PLC0415

    place = _place(name)
    if not yes:
        typer.confirm(f"All data of workspace {name} will be gone. Go on?", abort=True)
    raise typer.Exit(flow(place))


@app.command()
def backup(
    name: NameArgument,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The archive to write.")],
) -> None:
    """Write all that a workspace holds as one archive.

    Databases, artifacts, the workspace's folder with its caches, and the ledger, with a manifest of digests.
    Predictions go on meanwhile. Secrets are not in it, but the digests of clients' keys are.

    Example: tandem workspace backup prod prod.tar
    """
    from flows.workspace import backup as flow  # noqa: PLC0415

    ends_in_order(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    say(f"wrote {flow(_place(name), target.absolute())}")


@app.command()
def restore(
    name: NameArgument,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="An archive that `backup` wrote.")],
    given: SetOption = None,
) -> None:
    """Stand a workspace up with what another one held.

    It must not stand yet. Rehearse it now and then: in a third workspace, which is taken down again.

    Example: tandem workspace restore rehearsal prod.tar
    """
    from flows.workspace import restore as flow  # noqa: PLC0415

    ends_in_order(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    raise typer.Exit(flow(_place(name), source.absolute(), *read(), given or []))


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One workspace; all if none is named.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List what runs where.

    Exits with 1 when something does not run well.

    Example: tandem workspace status dev --json
    """
    from flows.workspace import status as flow  # noqa: PLC0415
    from tasks.show import containers_table  # noqa: PLC0415

    found = flow(_place(name) if name else None)
    say_json(found) if as_json else say(containers_table(found))
    if any(each["health"] != "healthy" for each in found):
        raise typer.Exit(1)
