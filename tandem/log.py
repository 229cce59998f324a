"""How progress is told: plain lines on stderr, JSON lines by setting, or to the graph's walker, which shows them."""

import errno
import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime

from tandem.errors import TandemError

FORMAT, TOLD_TO = "TANDEM_LOG_FORMAT", "TANDEM_LOG_TO"
NO_SPACE = os.strerror(errno.ENOSPC)
PLAIN = logging.Formatter("%(message)s")
_OWN = set(vars(logging.makeLogRecord({})))


class JsonLines(logging.Formatter):
    """A record as one line of JSON, with all that was said beside its message."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line."""
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if stage := os.environ.get("DVC_STAGE"):
            said["stage"] = stage
        beside = {name: value for name, value in vars(record).items() if name not in _OWN}
        return json.dumps(said | beside, default=str)


def as_json() -> bool:
    """Tell whether lines of JSON are asked for."""
    return os.environ.get(FORMAT) == "json"


def set_up() -> None:
    """Tell what our own code says; of others only warnings."""
    told_to = os.environ.get(TOLD_TO)
    handler: logging.Handler = logging.StreamHandler()
    if told_to:  # a pipe, which opened to be read too waits for nobody
        handler = logging.StreamHandler(os.fdopen(os.open(told_to, os.O_RDWR), "w"))
        logging.raiseExceptions = False
    handler.setFormatter(JsonLines() if told_to or as_json() else PLAIN)
    logging.basicConfig(handlers=[handler])
    for layer in ("flows", "tasks", "tandem"):
        logging.getLogger(layer).setLevel(logging.INFO)


def is_told() -> bool:
    """Tell whether whoever started this process shows what it says."""
    return TOLD_TO in os.environ


def failed(log: logging.Logger, exc: BaseException, stage: str) -> None:
    """Tell why a stage failed: in its own words, or by its traceback if it is no error of ours."""
    reason = "".join(traceback.format_exception(exc)).strip()
    if isinstance(exc, TandemError) or NO_SPACE in str(exc):  # an engine's words say where, not where in our code
        reason = str(exc)
    if is_told() or as_json():
        log.error("%s failed", stage, extra={"reason": reason})
    else:
        sys.stderr.write(f"{reason}\n")
