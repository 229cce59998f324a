"""The ledger: what was answered, what came true, and why."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from flows.commands.shared import JsonOption, group, read, registry, say, say_json

app = group()


class Form(StrEnum):
    """How rows are written."""

    json = "json"
    table = "table"
    csv = "csv"


IdArgument = Annotated[str, typer.Argument(metavar="ID", help="A prediction's, as it was answered.")]


@app.command()
def log(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT, as DuckDB speaks it.")],
    form: Annotated[Form, typer.Option("--format", help="How rows are written.")] = Form.table,
) -> None:
    """Ask the ledger.

    Tables: predictions, labels (the latest of each prediction), labels_all, shadows, audit; `DESCRIBE predictions`
    lists columns. Nothing can be changed, and no other file read. It is answered while servers run, and after they
    were killed.

    Example: tandem log --format json "SELECT id, score FROM predictions WHERE action <> 'none' ORDER BY world"
    """
    from tandem.errors import LedgerError  # noqa: PLC0415
    from tandem.history import History  # noqa: PLC0415
    from tasks.answers import FORMS  # noqa: PLC0415

    _, settings = read()
    with History.open(settings.ledger) as history:
        for text in FORMS[form.value](history.ask(sql)):
            sys.stdout.write(text)
        sys.stdout.flush()
        if history.damaged:
            raise LedgerError(
                "\n".join(["what is damaged was left out, unless its segment was there to be read:", *history.damaged])
            )


@app.command()
def compact(*, as_json: JsonOption = False) -> None:
    """Make Parquet of the ledger's closed segments.

    By day, each once. One that is damaged is named and left as it is. Segments stay for TANDEM_LEDGER_KEPT days.

    Example: tandem compact
    """
    from dataclasses import asdict  # noqa: PLC0415

    from flows.compact import compact as flow  # noqa: PLC0415

    _, settings = read()
    done = flow(settings)
    say_json(asdict(done)) if as_json else say(f"compacted {len(done.made)} segments, deleted {len(done.dropped)}")


@app.command()
def replay(name: IdArgument, *, as_json: JsonOption = False) -> None:
    """Make an answer again.

    From its record and its bundle, to the bit: `same`, or what differs (exit 4). Where the snapshot is still there
    the inputs are made again too. Without the bundle it ends with 5.

    Example: tandem replay 5f3a09c1-0000-00000000
    """
    from dataclasses import asdict  # noqa: PLC0415

    from flows.replay import replay as flow  # noqa: PLC0415

    _, settings = read()
    done = flow(name, settings, registry)
    if as_json:
        say_json(asdict(done))
    else:
        say(f"score {done.score!r} of bundle {done.bundle[:12]}, {done.inputs} inputs made from the request")
        if done.left_out:
            say(f"not all of them: {done.left_out}")
        say("same")


@app.command()
def why(name: IdArgument, *, as_json: JsonOption = False) -> None:
    """Follow an answer to what it was made of.

    Its traffic, snapshot, the rows of views and the raw lines behind them; its bundle, figures and what was said of it.

    Example: tandem why 5f3a09c1-0000-00000000
    """
    from flows.why import why as flow  # noqa: PLC0415
    from tasks.show import why_tree  # noqa: PLC0415

    _, settings = read()
    found = flow(name, settings, registry)
    say_json(found) if as_json else say(why_tree(found))
