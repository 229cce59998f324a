"""One worker: `python -m tandem.serving`. `tandem serve` starts these; in a container this is all there is.

Says `ready` and its address on its standard output once it has answered a golden request. Leaves when told to by
SIGTERM, or with --attached when its standard input ends, as it does when whoever started it is gone.
"""

import argparse
import sys
from datetime import datetime
from functools import partial
from pathlib import Path

from tandem.clock import Clock
from tandem.errors import AccessError, TandemError
from tandem.files import secret_of
from tandem.log import set_up
from tandem.serving.access import Keys
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
        set_up()
        required = keys_required(settings, given.host)
        source = Source(settings.serving, given.bundle, secret_of(settings.pseudonyms))
        clock = partial(Clock.load, settings.clock, given.standing)
        make = partial(Worker, source, clock, settings, keys_required=required)
        with listening(given.host, given.port) as socket:
            work(make, socket, settings.drain_seconds, attached=given.attached)
    except TandemError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(exc.exit_code)


def keys_required(settings: Settings, host: str) -> bool:
    """Say whether clients must show a key: always, unless only this machine can reach us.

    Raises:
        AccessError: nobody has one.

    """
    required = settings.access == "keys" or not is_loopback(host)
    if required and not Keys.load(settings.keys).keys:
        msg = f"who asks {host} must show a key, and there is none: `tandem keys add NAME --role client` makes one"
        raise AccessError(msg)
    return required


if __name__ == "__main__":
    main()
