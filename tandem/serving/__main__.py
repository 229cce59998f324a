"""One worker: `python -m tandem.serving`. `tandem serve` starts these; in a container this is all there is.

Says `ready` on its standard output once it has answered a golden request, and leaves when told to by SIGTERM, or with
--attached when its standard input ends, as it does when whoever started it is gone.
"""

import argparse
import sys
from datetime import datetime
from functools import partial
from pathlib import Path

from tandem.clock import Clock
from tandem.errors import TandemError
from tandem.serving.served import Source
from tandem.serving.server import Worker, is_loopback, listening, work
from tandem.settings import Settings


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(prog="python -m tandem.serving", description="Answer predictions over HTTP.")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="serve this one, and not what traffic.json says")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (8080)")
    parser.add_argument(
        "--standing", type=datetime.fromisoformat, metavar="MOMENT", help="world time, UTC, where no clock was set"
    )
    parser.add_argument("--attached", action="store_true", help="leave when standard input ends")
    given = parser.parse_args()
    try:
        settings = Settings.load()
        source, clock = Source(settings.serving, given.bundle), partial(Clock.load, settings.clock, given.standing)
        keys_required = settings.access == "keys" or not is_loopback(given.host)
        make = partial(Worker, source, clock, settings, keys_required=keys_required)
        with listening(given.host, given.port) as socket:
            work(make, socket, settings.drain_seconds, attached=given.attached)
    except TandemError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(exc.exit_code)


if __name__ == "__main__":
    main()
