"""The registry: what was published, what takes traffic, and the proof of it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.shared import (
    BundleOption,
    JsonOption,
    VersionArgument,
    chosen,
    group,
    read,
    registry,
    say,
    say_json,
)

app = group()


class Role(StrEnum):
    """What a version can be."""

    champion = "champion"
    challenger = "challenger"
    shadow = "shadow"


@app.command()
def publish(bundle: BundleOption = None, *, as_json: JsonOption = False) -> None:
    """Register a bundle, and hold it against the champion.

    By its digest: again, nothing changes. The first of a workspace becomes champion, unless the workspace's policy
    says otherwise.

    Example: tandem publish
    """
    from flows.publish import publish as flow  # noqa: PLC0415
    from tandem.bundle import Bundle  # noqa: PLC0415

    params, settings = read()
    found = Bundle.open(bundle or settings.of(params.problem) / "bundle")
    version, proposal = flow(registry(), found, settings)
    said = {"version": version.version, "digest": version.digest, "proposal": proposal}
    if as_json:
        say_json(said)
        return
    say(f"version {version.version} is bundle {version.digest[:12]}: {proposal['reason']}")
    if proposal["as"]:
        say(f"tandem promote {version.digest[:12]} --as {proposal['as']} --reason '...'")


@app.command()
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, digest or alias; `none` takes away.")],
    role: Annotated[Role, typer.Option("--as", help="What it becomes.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    share: Annotated[float | None, typer.Option(min=0, max=1, help="Of the requests, for a challenger.")] = None,
) -> None:
    """Change what takes traffic.

    The only way to. Each change is an event of the audit, with its reason and who made it.

    Example: tandem promote 274262456059 --as challenger --share 0.1 --reason "better log loss on October"
    """
    from flows.promote import promote as flow  # noqa: PLC0415

    found = registry()
    before = found.settle()
    after = flow(found, version, role.value, share, reason)
    say(_state_line(after) + _taken_away(before, after))


@app.command()
def rollback(reason: Annotated[str, typer.Option(help="Why; it is kept.")]) -> None:
    """Return to the champion before.

    Example: tandem rollback --reason "calibration broke"
    """
    from flows.promote import rollback as flow  # noqa: PLC0415

    say(_state_line(flow(registry(), reason)))


@app.command()
def models(*, as_json: JsonOption = False) -> None:
    """List the versions in the registry.

    Aliases, figures and age of each.

    Example: tandem models --json
    """
    from tasks.show import models_table  # noqa: PLC0415

    found = registry()
    versions, state = found.versions(), found.settle()
    if as_json:
        say_json([version.model_dump(mode="json") | {"aliases": state.of(version.digest)} for version in versions])
    else:
        say(models_table(versions, state))


def _state_line(state: Any) -> str:  # noqa: ANN401 - a State
    named = [f"{role} {digest[:12]}" for role in Role if (digest := getattr(state, role))]
    share = f", which answers {state.share:.1%} of the requests" if state.share else ""
    return f"generation {state.generation}: {', '.join(named) or 'nobody takes traffic'}{share}"


def _taken_away(before: Any, after: Any) -> str:  # noqa: ANN401 - States
    """Say who lost a role in which nobody followed, though it was another one that was given."""
    gone = [role for role in Role if getattr(before, role) and not getattr(after, role)]
    moved = [role for role in gone if after.of(getattr(before, role))]
    return "".join(f"; {getattr(before, role)[:12]} is {role} no more" for role in moved)


@app.command()
def lineage(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, digest or alias.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the whole chain behind a version.

    Its run, commit, source, lock and params, what each stage made, the raw files, and what was said about it.

    Example: tandem lineage champion
    """
    from flows.lineage import lineage as flow  # noqa: PLC0415
    from tasks.show import lineage_tree  # noqa: PLC0415

    found = flow(registry(), version)
    say_json(found) if as_json else say(lineage_tree(found))


@app.command()
def export(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, digest or alias.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The archive to write.")],
) -> None:
    """Write a version's bundle as one file.

    An OCI image layout; the same bundle gives the same bytes.

    Example: tandem export champion release.tar
    """
    from flows.move import export as flow  # noqa: PLC0415

    say(f"wrote {flow(registry(), version, file)}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An archive that `tandem export` wrote.")],
) -> None:
    """Publish the bundle of an archive.

    It is checked whole before anything is kept of it.

    Example: tandem import release.tar
    """
    from flows.move import bring_in  # noqa: PLC0415

    _, settings = read()
    version, proposal = bring_in(registry(), file, settings)
    say(f"version {version.version} is bundle {version.digest[:12]}: {proposal['reason']}")


@app.command()
def verify(version: VersionArgument = None, bundle: BundleOption = None) -> None:
    """Prove a bundle by building it again.

    From the source that it carries, the locked packages and the landing alone, in a temporary folder. The last
    line is `identical`, `diverges: STAGE FILE VALUE` (exit 4) or `cannot: WHAT IS MISSING` (exit 5); a bundle that is
    damaged itself is no bundle (exit 1).

    Example: tandem verify champion
    """
    from flows.verify import verify as flow  # noqa: PLC0415
    from tandem.settings import Settings  # noqa: PLC0415

    with chosen(version, bundle) as found:
        flow(found, Settings.load().landing, say)
    say("identical")
