"""The `tandem` command. What a subcommand needs is imported when it runs, so that help comes at once."""

import json
import os
import sys
from datetime import datetime
from pathlib import Path
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

BundleOption = Annotated[
    Path | None, typer.Option("--bundle", metavar="DIR", help="A bundle's folder; the problem's own if not given.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print facts as JSON.")]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _json(value: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    _say(json.dumps(value, indent=1))


@app.command()
def run(*, force: Annotated[bool, typer.Option("--force", help="Run every stage, changed or not.")] = False) -> None:
    """Run what changed, from raw data to a bundle.

    Does what `dvc repro` does, a line a stage, and ends with the model's figures. Exits with 3 when a gate
    failed.

    Example: tandem run
    """
    from flows.pipeline import pipeline  # noqa: PLC0415
    from tasks.show import figures_table, run_line  # noqa: PLC0415

    params, settings = _read()
    pipeline(Path(), lambda done: _say(run_line(done)), force=force)
    _say(figures_table(settings.of(params.problem)))


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
def status(*, as_json: JsonOption = False) -> None:
    """Say which stages are up to date.

    Each is cached, changed or was never run.

    Example: tandem status --json
    """
    from tandem.graph import Graph  # noqa: PLC0415
    from tandem.tables import plain  # noqa: PLC0415

    states = Graph(Path()).states()
    _json(states) if as_json else _say(plain(("stage", "state"), list(states.items())))


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
