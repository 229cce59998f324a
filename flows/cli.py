"""The `tandem` command, on top of everything."""

import os
import sys

from flows.commands import bundles, clock, ledger, models, pipeline, serving
from flows.commands.shared import group
from tandem.errors import TandemError

app = group(
    pretty_exceptions_enable=False,
    help="MLOps on one box: tabular events to a served, watched and retrained model.",
)
for subject in (pipeline, models, serving, ledger, bundles):
    app.add_typer(subject.app)
app.add_typer(clock.app, name="clock")


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
