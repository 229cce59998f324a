"""The pipeline: what comes in, what is made of it, and how well it is."""

import signal
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.shared import BundleOption, JsonOption, ends_in_order, group, read, say, say_json

app = group()


@app.command()
def run(  # noqa: PLR0913 - a command has the options that it has
    *,
    force: Annotated[bool, typer.Option("--force", help="Run every stage, changed or not.")] = False,
    advance: Annotated[bool, typer.Option("--advance", help="First set as_of to the last closed day.")] = False,
    due: Annotated[bool, typer.Option("--due", help="As of each closed day since the last, and publish each.")] = False,
    in_prefect: Annotated[bool, typer.Option("--prefect", help="Show it in Prefect, on a server of its own.")] = False,
    since: Annotated[datetime | None, typer.Option("--from", help="A study: train as of this day, UTC,")] = None,
    until: Annotated[datetime | None, typer.Option(help="and so on up to this day,")] = None,
    every: Annotated[str | None, typer.Option(metavar="DAYS", help="a day every so many; 7d if not given.")] = None,
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
    if sum((advance, due, since is not None)) > 1:
        msg = "--advance, --due and --from are three ways to set as_of: give one"
        raise typer.BadParameter(msg)
    if force and (due or since):
        msg = "--force is of one run: stages of a day that was done are not run again"
        raise typer.BadParameter(msg)
    if since is None and (every is not None or tune):
        msg = "--every and --tune are of a study: give --from and --until, too"
        raise typer.BadParameter(msg)
    from tandem.problem import load_problem  # noqa: PLC0415

    params, settings = read()
    load_problem(params.problem)  # DVC would say of one that is not there no more than a path
    ends_in_order(signal.SIGTERM)
    with _prefect() if in_prefect else nullcontext():
        if since and until:
            _run_study(settings, since, until, "7d" if every is None else every, tune=tune)
        elif due:
            _run_due(settings)
        else:
            _run_once(params.problem, settings, force=force, advance=advance)


def _prefect() -> AbstractContextManager[None]:
    from tandem.prefect_runs import server  # noqa: PLC0415

    return server()


def _run_once(problem: str, settings: Any, *, force: bool, advance: bool) -> None:  # noqa: ANN401 - Settings
    from flows.pipeline import last_closed_day, pipeline  # noqa: PLC0415
    from tandem.schedule import PIPELINE, alone  # noqa: PLC0415
    from tasks import progress  # noqa: PLC0415
    from tasks.show import figures_of, figures_table  # noqa: PLC0415

    with alone(settings.schedule, PIPELINE):
        pipeline(force=force, as_of=last_closed_day() if advance else None)
        data = settings.of(problem)
        progress.say(figures_table(data), event="figures", models=figures_of(data))


def _run_due(settings: Any) -> None:  # noqa: ANN401 - Settings
    from flows.due import due  # noqa: PLC0415
    from tasks import progress  # noqa: PLC0415

    days = [day.date().isoformat() for day in due(settings)]
    progress.say(f"trained as of {', '.join(days)}" if days else "no day is due", event="due", days=days)


def _run_study(settings: Any, since: datetime, until: datetime, every: str, *, tune: bool) -> None:  # noqa: ANN401
    from flows.backfill import backfill  # noqa: PLC0415
    from tandem.schedule import days_from  # noqa: PLC0415
    from tasks import progress  # noqa: PLC0415
    from tasks.show import study_table  # noqa: PLC0415

    study = backfill(settings, days_from(since, until, every), tune=tune)
    progress.say(study_table(study), event="study", **study.facts())


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
    from tandem.errors import BusyError  # noqa: PLC0415
    from tandem.graph import Graph  # noqa: PLC0415
    from tandem.schedule import PIPELINE, alone, check_lately, last_ended  # noqa: PLC0415
    from tasks.show import status_tables  # noqa: PLC0415

    _, settings = read()
    graph, schedule = Graph(Path()), settings.schedule
    with suppress(BusyError), alone(schedule, PIPELINE):  # after a kill; who is at it mends for itself
        graph.mend()
    states, flows = graph.states(), last_ended(schedule)
    if as_json:
        say_json(
            {"stages": states, "flows": {name: each and each.model_dump(mode="json") for name, each in flows.items()}}
        )
    else:
        say(status_tables(states, flows))
    if within is not None:
        check_lately(flows, within)


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

    params, settings = read()
    pin = flow(source, file, params, settings, fetch)
    known = f"facts known {' to '.join(pin.known)}" if pin.known else "no facts"
    say(f"landed {pin.sha256[:12]} as {pin.source}, {known}")


@app.command()
def refresh() -> None:
    """Bring what serving knows up to world time.

    Takes in what has landed, and writes the snapshot of every tick that came since the last.

    Example: tandem refresh
    """
    from flows.refresh import refresh as flow  # noqa: PLC0415

    params, settings = read()
    written = flow(params, settings)
    say(f"wrote {len(written)} snapshots" + (f", the newest {written[-1]}" if written else ": none is due"))


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

    params, settings = read()
    result = flow(params, settings, bundle, until)
    say_json(result) if as_json else say(backtest_table(result))


@app.command()
def doctor(*, as_json: JsonOption = False) -> None:
    """Check what this machine lacks.

    Python, memory, disk, packages, git: what is missing comes with the command that mends it.

    Example: tandem doctor
    """
    from tasks.doctor import checks  # noqa: PLC0415
    from tasks.show import doctor_report  # noqa: PLC0415

    found = checks(Path())
    say_json(found) if as_json else say(doctor_report(found))
    if not all(check["ok"] for check in found):
        raise typer.Exit(1)
