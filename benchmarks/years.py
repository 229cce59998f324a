"""The year of the default problem several times over, its dates shifted by whole years; landed and pinned in a tree."""

import re
import sys
from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import yaml

FIRST = 2013
OTHERS = [year for year in range(1990, 2101) if year != FIRST]
"""The contract knows flights of no other years."""
YEAR = re.compile(rf"^(\D*){FIRST},", re.MULTILINE)
"""The column `year` is the first one, or the second after an airport; `time_hour` is the only date."""


def shifted(text: str, year: int) -> str:
    """Move each row to another year."""
    return YEAR.sub(rf"\g<1>{year},", text).replace(f"{FIRST}-", f"{year}-")


def zipped(text: str) -> bytes:
    """Pack a table as the source has it."""
    target = BytesIO()
    with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=1) as packed:
        packed.writestr("flights.csv", text)
    return target.getvalue()


def several(text: str, years: Sequence[int]) -> str:
    """Put the rows of several years below one heading."""
    heading, rows = text.split("\n", 1)
    return "\n".join([heading, *(shifted(rows, year).removesuffix("\n") for year in years), ""])


def main(tree: Path, count: int, how: str) -> None:
    """Land some years in a tree in which the first one has landed, and pin those and no others: a file each, or one."""
    lock, landing = tree / "data" / "sources.lock", tree / "var" / "landing"
    pins = {pin["source"]: pin for pin in yaml.safe_load((tree / "data" / "first.lock").read_text())}
    weather = (landing / pins["flights/weather"]["sha256"]).read_text()
    with ZipFile(landing / pins["flights/flights"]["sha256"]) as packed:
        flights = packed.read(packed.namelist()[0]).decode()
    years = [FIRST, *OTHERS][:count]
    kept = [pins["flights/airports"]]
    for group in [years] if how == "one" else [[year] for year in years]:
        made = {"flights": zipped(several(flights, group)), "weather": several(weather, group).encode()}
        for source, data in made.items():
            digest = sha256(data).hexdigest()
            (landing / digest).write_bytes(data)
            pin = {"source": f"flights/{source}", "sha256": digest, "bytes": len(data), "fetch": f"file:{digest}"}
            kept.append(pin)
    lock.write_text(yaml.safe_dump(kept))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
