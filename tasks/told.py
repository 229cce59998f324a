"""What is told to Prometheus of what is done again and again: its node exporter reads files like this one."""

from calendar import timegm
from pathlib import Path

from tandem.files import write_text
from tandem.schedule import last_ended
from tandem.settings import Settings

NAME = "tandem_flow_ended_seconds"


def told(settings: Settings) -> Path:
    """Name the file."""
    return settings.var / "told" / "flows.prom"


def tell_flows(settings: Settings) -> None:
    """Write down when each flow last ended well, if that is news: a dead scheduler looks as healthy as an idle one."""
    ended = {name: timegm(last.wall.timetuple()) if last else 0 for name, last in last_ended(settings.schedule).items()}
    lines = [f"# HELP {NAME} When it last ended well.", f"# TYPE {NAME} gauge"]
    lines += [f'{NAME}{{flow="{name}"}} {seconds}' for name, seconds in ended.items()]
    text, path = "\n".join(lines) + "\n", told(settings)
    if not path.is_file() or path.read_text() != text:
        write_text(path, text)
