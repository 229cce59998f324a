"""Serving: over HTTP, in batches, and the check that both are what training saw."""

from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.shared import BundleOption, JsonOption, group, read, registry, say, say_json

app = group()


class Engine(StrEnum):
    """What runs the model in a batch."""

    xgboost = "xgboost"
    onnx = "onnx"


@app.command()
def serve(
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Serve this one, whatever the registry says.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="PORT", min=0, max=65535, help="Port to listen on.")] = 8080,
    workers: Annotated[int, typer.Option(envvar="WORKERS", min=1, help="Processes that share the port.")] = 1,
    *,
    checking: Annotated[bool, typer.Option("--check", help="End here if the port can be listened on.")] = False,
) -> None:
    """Answer predictions over HTTP.

    In the foreground, until SIGTERM or Ctrl-C. Serves what the registry says takes traffic, or the problem's own
    bundle where nothing was ever published.

    Example: tandem serve --port 9000 --workers 2
    """
    if checking:
        from tandem.workers import reserved  # noqa: PLC0415

        with reserved(host, port):
            return
    from flows.serve import serve as flow  # noqa: PLC0415

    params, settings = read()
    raise typer.Exit(flow(bundle, params, settings, (host, port), workers))


@app.command()
def sync(
    *,
    watching: Annotated[bool, typer.Option("--watch", help="Again and again, until SIGTERM or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.05, metavar="SECONDS", help="Between two looks of a watch.")] = 1.0,
    refreshing: Annotated[
        bool, typer.Option("--refresh", help="With --watch: write the snapshots that fall due, too.")
    ] = False,
    attached: Annotated[bool, typer.Option("--attached", help="With --watch: until standard input ends.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let what the registry says take traffic.

    Each bundle is fetched, checked, rehearsed and laid out, and traffic changes in one step. What is refused is told,
    here and in the audit, and what was served before goes on; exits with 1 then.

    With --watch it is the platform's process beside a server, which also answers what a score is made of.

    Example: tandem sync
    """
    from tandem import log  # noqa: PLC0415

    log.set_up()
    from flows.sync import sync as flow  # noqa: PLC0415

    params, settings = read()
    if watching:
        from flows.platform import Supply, supply  # noqa: PLC0415

        supply(registry(), params, settings, Supply(every, refreshing, attached), say)
        return
    found = flow(registry(), settings)
    say_json(found.facts()) if as_json else say(found.line)
    if found.reason:
        raise typer.Exit(1)


@app.command()
def score(  # noqa: PLR0913 - a command has the options that it has
    source: Annotated[str, typer.Argument(metavar="IN", help="A .parquet, .csv or .sql file, or a query of files.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The Parquet file to write.")],
    bundle: BundleOption = None,
    *,
    at: Annotated[
        datetime | None, typer.Option(help="Moment of rows that name none, UTC; world time if not given.")
    ] = None,
    whole: Annotated[bool, typer.Option("--all", help="Keep all columns, not the keys alone.")] = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave out rows that break the contract, and write them beside.")
    ] = False,
    engine: Annotated[
        Engine, typer.Option(help="onnx: the server's own, to the bit; xgboost: faster, within 1e-6.")
    ] = Engine.xgboost,
    as_json: JsonOption = False,
) -> None:
    """Score a table of requests.

    In slices, so it may be of any length. With a column `moment` each row is scored by what was known at its moment,
    as training saw it; without, all by the newest snapshot, as the server does. Rows are held against the contract of
    requests: the first that breaks it ends the command, unless --skip is given.

    Example: tandem score "select * from 'requests/*.parquet'" scores.parquet
    """
    from flows.score import score as flow  # noqa: PLC0415
    from tasks.progress import Counter  # noqa: PLC0415
    from tasks.score import Wanted  # noqa: PLC0415

    params, settings = read()
    counter = Counter("scored")
    done = flow(Wanted(source, target, engine.value, whole, skip, at), bundle, params, settings, counter)
    counter.end()
    if as_json:
        say_json(done)
        return
    say(
        f"scored {done['rows']:,} rows in {done['seconds']:.1f} s, {done['rows_a_second']:,} a second: {done['target']}"
    )
    if done["left_out"]:
        say(f"left out {done['left_out']:,} rows, with the rules that they break: {done['quarantine']}")


@app.command()
def skew(*, as_json: JsonOption = False) -> None:
    """Hold recorded traffic against offline code.

    Computes the features of each prediction in the ledger anew, from the facts as of its tick, and its score: features
    must be equal to the bit, scores within 1e-6. Says which views and features differ, and how stale answers were.
    Exits with 4 when something differs.

    Example: tandem skew --json
    """
    from flows.skew import skew as flow  # noqa: PLC0415
    from tandem.errors import SkewError  # noqa: PLC0415
    from tasks.show import skew_report  # noqa: PLC0415

    found = flow(*read())
    say_json(asdict(found)) if as_json else say(skew_report(found))
    if found.differing:
        raise SkewError(found.differing, found.compared)
