"""The `tandem` command. What a subcommand needs is imported when it runs, so that help comes at once."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from tandem.errors import TandemError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="MLOps on one box: tabular events to a served, watched and retrained model.",
)

clock = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="World time: show it, set it, let it run faster.")
app.add_typer(clock, name="clock")


class Role(StrEnum):
    """What a version can be."""

    champion = "champion"
    challenger = "challenger"
    shadow = "shadow"


REPORT = Path("build/report.html")
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", metavar="DIR", help="A bundle's folder; the problem's own if not given.")
]
VersionArgument = Annotated[
    str | None, typer.Argument(metavar="[VERSION]", help="One in the registry: its number, digest or alias.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _json(value: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    _say(json.dumps(value, indent=1))


@app.command()
def run(  # noqa: PLR0913 - a command has the options that it has
    *,
    force: Annotated[bool, typer.Option("--force", help="Run every stage, changed or not.")] = False,
    advance: Annotated[bool, typer.Option("--advance", help="First set as_of to the last closed day.")] = False,
    due: Annotated[bool, typer.Option("--due", help="As of each closed day since the last, and publish each.")] = False,
    in_prefect: Annotated[bool, typer.Option("--prefect", help="Show it in Prefect, on a server of its own.")] = False,
    since: Annotated[datetime | None, typer.Option("--from", help="A study: train as of this day, UTC,")] = None,
    until: Annotated[datetime | None, typer.Option(help="and so on up to this day,")] = None,
    every: Annotated[str, typer.Option(metavar="DAYS", help="a day every so many: 7d.")] = "7d",
    tune: Annotated[
        bool, typer.Option("--tune", help="Look for params as of each day, not of the first only.")
    ] = False,
) -> None:
    """Run what changed, from raw data to a bundle.

    Does what `dvc repro` does, a line a stage, and ends with the model's figures. With PREFECT_API_URL set, or
    with --prefect, it shows as a flow run with each stage below. Exits with 3 when a gate failed.

    With --from and --until it trains beside the working tree as of each of many days, judges each model by what is
    known by now of what came later, and shows how models age. Killed, it goes on where it was.

    Example: tandem run
    """
    if (since is None) != (until is None):
        msg = "--from and --until belong together"
        raise typer.BadParameter(msg)
    params, settings = _read()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with _prefect() if in_prefect else nullcontext():
        if since and until:
            _run_study(settings, since, until, every, tune=tune)
        elif due:
            _run_due(settings)
        else:
            _run_once(params.problem, settings, force=force, advance=advance)


def _run_once(problem: str, settings: Any, *, force: bool, advance: bool) -> None:  # noqa: ANN401 - Settings
    from flows.pipeline import last_closed_day, pipeline  # noqa: PLC0415
    from tandem.schedule import PIPELINE, alone  # noqa: PLC0415
    from tasks.progress import say  # noqa: PLC0415
    from tasks.show import figures_of, figures_table  # noqa: PLC0415

    with alone(settings.schedule, PIPELINE):
        pipeline(force=force, as_of=last_closed_day() if advance else None)
        data = settings.of(problem)
        say(figures_table(data), event="figures", models=figures_of(data))


def _run_due(settings: Any) -> None:  # noqa: ANN401 - Settings
    from flows.due import due  # noqa: PLC0415
    from tasks.progress import say  # noqa: PLC0415

    days = [day.date().isoformat() for day in due(settings)]
    say(f"trained as of {len(days)} days" if days else "no day is due", event="due", days=days)


def _run_study(settings: Any, since: datetime, until: datetime, every: str, *, tune: bool) -> None:  # noqa: ANN401
    from flows.backfill import backfill  # noqa: PLC0415
    from tandem.schedule import days_from  # noqa: PLC0415
    from tasks.progress import say  # noqa: PLC0415
    from tasks.show import study_table  # noqa: PLC0415

    study = backfill(settings, days_from(since, until, every), tune=tune)
    say(study_table(study), event="study", **study.facts())


@app.command()
def serve(
    bundle: BundleOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="PORT", min=0, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Answer predictions over HTTP.

    In the foreground, until SIGTERM or Ctrl-C.

    Example: tandem serve --port 9000
    """
    from flows.serve import serve as flow  # noqa: PLC0415

    params, settings = _read()
    flow(bundle, params, settings, host, port)


@app.command()
def land(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The source it is a file of, as the problem calls it.")
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The raw file; it is copied.")],
    fetch: Annotated[
        str | None, typer.Option(help="How others get it: pypi:NAME==VERSION#MEMBER?sha256=... or file:PATH.")
    ] = None,
) -> None:
    """Take a raw file in, and pin it.

    If it is what its contract says it is copied into the landing and named in data/sources.lock.

    Example: tandem land orders 2014-01.csv
    """
    from flows.land import land as flow  # noqa: PLC0415

    params, settings = _read()
    pin = flow(source, file, params, settings, fetch)
    _say(f"landed {pin.sha256[:12]} as {pin.source}, facts known {' to '.join(pin.known or ('always',))}")


@app.command()
def refresh() -> None:
    """Bring what serving knows up to world time.

    Takes in what has landed, and writes the snapshot of every tick that came since the last.

    Example: tandem refresh
    """
    from flows.refresh import refresh as flow  # noqa: PLC0415

    params, settings = _read()
    written = flow(params, settings)
    _say(f"wrote {len(written)} snapshots" + (f", the newest {written[-1]}" if written else ": none is due"))


@clock.command("show")
def clock_show(*, as_json: JsonOption = False) -> None:
    """Say what time it is in the world, and how fast it goes.

    Example: tandem clock show --json
    """
    _clock_said(as_json=as_json)


@clock.command("set")
def clock_set(
    moment: Annotated[datetime, typer.Argument(help="Where to go on from, UTC.")], *, as_json: JsonOption = False
) -> None:
    """Go on from another moment, as fast as before.

    Example: tandem clock set 2013-11-01T06:00:00
    """
    _clock_said(lambda clock: clock.at(moment), as_json=as_json)


@clock.command("speed")
def clock_speed(
    speed: Annotated[float, typer.Argument(min=0, help="World seconds in a second: 1 is the wall's, 0 stands still.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Go on from now, faster or slower.

    Example: tandem clock speed 600
    """
    _clock_said(lambda clock: clock.at_speed(speed), as_json=as_json)


@app.command()
def backtest(
    until: Annotated[datetime, typer.Option(help="Judge what was known before this moment, UTC.")],
    bundle: BundleOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Judge a bundle by what came later.

    Its figures on what became known after its day: by month this is how it ages. Works in a temporary folder
    and changes nothing.

    Example: tandem backtest --until 2014-01-01
    """
    from flows.backtest import backtest as flow  # noqa: PLC0415
    from tasks.show import backtest_table  # noqa: PLC0415

    params, settings = _read()
    result = flow(params, settings, bundle, until)
    _json(result) if as_json else _say(backtest_table(result))


@app.command()
def status(
    *,
    within: Annotated[
        float | None, typer.Option(min=0, metavar="MINUTES", help="Exit with 7 unless each flow ended that lately.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which stages are up to date.

    Each stage is cached, changed or was never run. Each scheduled flow ended at some time of the wall's, and has done
    all that was due up to some moment of the world's: a scheduler that died looks as healthy as one with nothing to do.

    Example: tandem status --within 90
    """
    from tandem.graph import Graph  # noqa: PLC0415
    from tandem.schedule import check_lately, last_ended  # noqa: PLC0415
    from tandem.settings import Settings  # noqa: PLC0415
    from tasks.show import status_tables  # noqa: PLC0415

    states, flows = Graph(Path()).states(), last_ended(Settings.load().schedule)
    if as_json:
        _json(
            {"stages": states, "flows": {name: each and each.model_dump(mode="json") for name, each in flows.items()}}
        )
    else:
        _say(status_tables(states, flows))
    if within is not None:
        check_lately(flows, within)


@app.command()
def publish(bundle: BundleOption = None, *, as_json: JsonOption = False) -> None:
    """Register a bundle, and hold it against the champion.

    By its digest: again, nothing changes. The first of a workspace becomes champion, unless the workspace's policy
    says otherwise.

    Example: tandem publish
    """
    from flows.publish import publish as flow  # noqa: PLC0415
    from tandem.bundle import Bundle  # noqa: PLC0415

    params, settings = _read()
    found = Bundle.open(bundle or settings.of(params.problem) / "bundle")
    version, proposal = flow(_registry(), found, settings)
    said = {"version": version.version, "digest": version.digest, "proposal": proposal}
    if as_json:
        _json(said)
        return
    _say(f"version {version.version} is bundle {version.digest[:12]}: {proposal['reason']}")
    if proposal["as"]:
        _say(f"tandem promote {version.digest[:12]} --as {proposal['as']} --reason '...'")


@app.command()
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, digest or alias; `none` takes away.")],
    role: Annotated[Role, typer.Option("--as", help="What it becomes.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    share: Annotated[float | None, typer.Option(min=0, max=1, help="Of the requests, for a challenger.")] = None,
) -> None:
    """Change what takes traffic.

    The only way to. Each change is an event of the audit, with its reason and who made it.

    Example: tandem promote e20cdb4d0039 --as challenger --share 0.1 --reason "better log loss on October"
    """
    from flows.promote import promote as flow  # noqa: PLC0415

    _say(_state_line(flow(_registry(), version, role.value, share, reason)))


@app.command()
def rollback(reason: Annotated[str, typer.Option(help="Why; it is kept.")]) -> None:
    """Return to the champion before.

    Example: tandem rollback --reason "calibration broke"
    """
    from flows.promote import rollback as flow  # noqa: PLC0415

    _say(_state_line(flow(_registry(), reason)))


@app.command()
def models(*, as_json: JsonOption = False) -> None:
    """List the versions in the registry.

    Aliases, figures and age of each.

    Example: tandem models --json
    """
    from tasks.show import models_table  # noqa: PLC0415

    registry = _registry()
    versions, state = registry.versions(), registry.settle()
    if as_json:
        _json([version.model_dump(mode="json") | {"aliases": state.of(version.digest)} for version in versions])
    else:
        _say(models_table(versions, state))


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

    found = flow(_registry(), version)
    _json(found) if as_json else _say(lineage_tree(found))


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

    _say(f"wrote {flow(_registry(), version, file)}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An archive that `tandem export` wrote.")],
) -> None:
    """Publish the bundle of an archive.

    It is checked whole before anything is kept of it.

    Example: tandem import release.tar
    """
    from flows.move import bring_in  # noqa: PLC0415

    _, settings = _read()
    version, proposal = bring_in(_registry(), file, settings)
    _say(f"version {version.version} is bundle {version.digest[:12]}: {proposal['reason']}")


@app.command()
def verify(bundle: BundleOption = None) -> None:
    """Prove a bundle by building it again.

    From the source that it carries, the locked packages and the landing alone, in a temporary folder. The last
    line is `identical`, `diverges: STAGE FILE VALUE` (exit 4) or `cannot: WHAT IS MISSING` (exit 5).

    Example: tandem verify
    """
    from flows.verify import verify as flow  # noqa: PLC0415
    from tandem.bundle import Bundle  # noqa: PLC0415

    params, settings = _read()
    flow(Bundle.open(bundle or settings.of(params.problem) / "bundle"), settings.landing, _say)
    _say("identical")


@app.command()
def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A bundle's folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one's.")],
    *,
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a review.")] = False,
) -> None:
    """Compare two bundles.

    Data, features, params, and figures by slice.

    Example: tandem diff old/bundle new/bundle --markdown
    """
    from flows.diff import diff as flow  # noqa: PLC0415
    from tasks.show import diff_report  # noqa: PLC0415

    result = flow(a, b)
    _json(result) if as_json else _say(diff_report(result, markdown=markdown))


@app.command()
def card(version: VersionArgument = None, bundle: BundleOption = None) -> None:
    """Print a model's card.

    Data, intended use, limits, figures by slice and month, baselines, calibration, costs, fairness, how to rebuild.

    Example: tandem card champion
    """
    from tandem.card import CARD  # noqa: PLC0415

    with _chosen(version, bundle) as found:
        _say(found.text(CARD).rstrip())


@app.command()
def report(
    version: VersionArgument = None,
    bundle: BundleOption = None,
    target: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write it.")] = REPORT,
) -> None:
    """Write a model's card with plots, as a page for a browser.

    One file of HTML that loads nothing else.

    Example: tandem report --to report.html
    """
    from flows.report import report as flow  # noqa: PLC0415

    with _chosen(version, bundle) as found:
        _say(f"wrote {flow(found, target)}")


@app.command()
def features(
    target: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write it.")] = Path("docs/features.md"),
) -> None:
    """Write the catalogue of features.

    Name, type, meaning, view, facts, share of nulls and importance of each, as the last run made them.

    Example: tandem features --to features.md
    """
    from flows.catalogue import catalogue as flow  # noqa: PLC0415

    params, settings = _read()
    _say(f"wrote {flow(params, settings, target)}")


@app.command()
def doctor(*, as_json: JsonOption = False) -> None:
    """Check what this machine lacks.

    Python, memory, disk, packages, git: what is missing comes with the command that mends it.

    Example: tandem doctor
    """
    from tasks.doctor import checks  # noqa: PLC0415
    from tasks.show import doctor_report  # noqa: PLC0415

    found = checks(Path())
    _json(found) if as_json else _say(doctor_report(found))
    if not all(check["ok"] for check in found):
        raise typer.Exit(1)


@contextmanager
def _chosen(version: str | None, folder: Path | None) -> Iterator[Any]:
    """Open a version's bundle, or that of a folder; the problem's own if neither is named."""
    from tandem.bundle import Bundle  # noqa: PLC0415

    if version and folder:
        msg = "name a VERSION or --bundle, not both"
        raise typer.BadParameter(msg)
    if version:
        registry = _registry()
        with TemporaryDirectory(prefix="tandem-") as place:
            yield registry.fetch(registry.find(version), Path(place) / "bundle")
    else:
        params, settings = _read()
        yield Bundle.open(folder or settings.of(params.problem) / "bundle")


def _prefect() -> AbstractContextManager[None]:
    from tandem.prefect_runs import server  # noqa: PLC0415

    return server()


def _registry() -> Any:  # noqa: ANN401 - imported when it is needed
    from tandem.clock import Clock  # noqa: PLC0415
    from tandem.problem import load_problem  # noqa: PLC0415
    from tandem.registry import Registry  # noqa: PLC0415

    params, settings = _read()
    return Registry(params.problem, settings, Clock.of(load_problem(params.problem), params, settings))


def _state_line(state: Any) -> str:  # noqa: ANN401 - a State
    named = [f"{role} {digest[:12]}" for role in Role if (digest := getattr(state, role))]
    share = f", which answers {state.share:.1%} of the requests" if state.share else ""
    return f"generation {state.generation}: {', '.join(named) or 'nobody takes traffic'}{share}"


def _clock_said(change: Callable[[Any], Any] | None = None, *, as_json: bool) -> None:
    """Change the clock if asked to, and say what it shows."""
    from tandem.clock import Clock  # noqa: PLC0415
    from tandem.problem import load_problem  # noqa: PLC0415

    params, settings = _read()
    clock = Clock.of(load_problem(params.problem), params, settings)
    if change:
        clock = change(clock)
        clock.save(settings.clock)
    shown = {"now": clock.now().isoformat(), "speed": clock.speed, "set": settings.clock.is_file()}
    _json(shown) if as_json else _say(f"{shown['now']} UTC, at {clock.speed:g} world seconds a second")


def _read() -> tuple[Any, Any]:
    from tandem.params import Params  # noqa: PLC0415
    from tandem.settings import Settings  # noqa: PLC0415

    return Params.load(), Settings.load()


def main() -> None:
    """Run the command; an error of ours is a message and an exit code."""
    try:
        app()
    except TandemError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(exc.exit_code)
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
