"""What a workspace takes while nobody asks it anything: python benchmarks/rest.py dev [SECONDS]."""

import sys

from tandem import tables
from tandem.settings import Settings
from tandem.workspace import Place
from tasks.containers import taken

SECONDS = 300.0


def main(name: str, seconds: float = SECONDS) -> None:
    """Look at its containers, and print what each took, and all."""
    place = Place(name, Settings.load().var)
    found = taken(place, seconds)
    rows = [(each.container, f"{each.mib:.0f}", f"{each.core:.1%}") for each in found]
    rows.append(("all", f"{sum(each.mib for each in found):.0f}", f"{sum(each.core for each in found):.1%}"))
    print(tables.plain(("container", "MiB", "of a core"), rows))


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:]))
