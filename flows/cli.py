"""The `tandem` command, on top of everything."""

import os
import sys

from flows.commands import attest, bundles, clock, keys, ledger, models, pipeline, serving, workspace
from flows.commands.shared import group
from tandem.errors import TandemError

app = group(
    pretty_exceptions_enable=False,
    help="MLOps on one box: tabular events to a served, watched and retrained model.\n\nExample: tandem status",
)
for subject in (pipeline, models, attest, serving, ledger, bundles):
    app.add_typer(subject.app)
app.add_typer(clock.app, name="clock")
app.add_typer(keys.app, name="keys")
app.add_typer(attest.signer, name="signer")
app.add_typer(workspace.app, name="workspace")


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
    except OSError as exc:  # a folder that cannot be written to, or the like
        sys.stderr.write(f"{exc}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
