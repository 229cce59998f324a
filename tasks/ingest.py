"""Raw rows to facts by known date: each row and each fact meets its contract, and nothing is dropped in silence."""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl

from tandem import contracts, files, problem, warehouse
from tandem.contracts import Fact, Row
from tandem.errors import ProblemError
from tandem.files import canonical_json, digest_of, write_json
from tandem.problem import Problem, Source
from tandem.run import step
from tandem.warehouse import connect
from tasks import reading
from tasks.reading import read_raw

log = logging.getLogger(__name__)

Landed = Mapping[str, tuple[Path, ...]]
"""The landed files of each source."""
QUARANTINE = {"contract": pl.String, "rules": pl.String, "landing": pl.String, "row": pl.Int64, "values": pl.String}
MONTH = pl.col("known_at").dt.strftime("%Y-%m")
DAY = pl.col("known_at").dt.strftime("%Y-%m-%d")


@dataclass
class Part:
    """What one landed file gives."""

    facts: dict[str, pl.DataFrame] = field(default_factory=dict)
    quarantined: list[pl.DataFrame] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)

    def admit(self, frame: pl.DataFrame, contract: type[dy.Schema], name: str) -> pl.DataFrame:
        """Let the rows through that meet the contract, quarantine the others with the rules they broke, count both."""
        accepted, failure = contract.filter(frame)
        refused = failure.details()
        if not refused.is_empty():
            self.quarantined.append(_quarantined(refused, contract).with_columns(contract=pl.lit(name)))
        counted = {"rows": frame.height, "accepted": accepted.height, "quarantined": refused.height}
        if counted["rows"] != counted["accepted"] + counted["quarantined"]:
            msg = f"{name}: {counted} do not add up"
            raise ProblemError(msg)
        self.counts[name] = counted | {"rules": dict(sorted(failure.counts().items()))}
        return accepted


def _quarantined(refused: pl.DataFrame, contract: type[dy.Schema]) -> pl.DataFrame:
    """Turn refused rows of any contract into rows of one form."""
    own = [name for name in contract.column_names() if name not in Row.columns()]
    rules = [name for name in refused.columns if name not in contract.columns()]
    broken = pl.concat_list(pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules)
    return refused.select(
        "landing", "row", rules=broken.list.drop_nulls().list.sort().list.join(","), values=pl.struct(own)
    ).with_columns(pl.col("values").struct.json_encode())


@step
def facts_of(raw: pl.DataFrame, beside: Mapping[str, pl.DataFrame], source: Source, spec: Problem) -> Part:
    """Map the rows of one landed file to facts, through the contracts of both."""
    part = Part()
    accepted = part.admit(raw, spec.contracts.SOURCES[source.name], source.name)
    with connect() as con:
        for name, frame in {**beside, "raw": accepted}.items():
            con.register(name, frame)
        ready = spec.folder / "facts" / f"{source.name}.sql"
        made = ready.read_text() if ready.is_file() else "select * from raw"
        con.execute(f"create temp table {source.name} as {made}")
        for kind in source.kinds:
            mapped: pl.DataFrame = con.sql(spec.sql(f"facts/{kind}")).pl()
            contract = spec.contracts.FACTS[kind]
            part.facts[kind] = part.admit(mapped, contract, kind).sort(_total_order(contract))
    return part


def _total_order(contract: type[Fact]) -> list[str]:
    return ["known_at", *contracts.marked(contract, contracts.KEY), "landing", "row"]


def _code(spec: Problem, source: Source) -> str:
    """Digest of all that maps this source's rows, so that a change makes its batches again, and only its."""
    own = [spec.folder / "facts" / f"{name}.sql" for name in (source.name, *source.kinds)]
    shared = [Path(str(module.__file__)) for module in (contracts, files, problem, warehouse, reading)]
    paths = [*own, *shared, Path(__file__), spec.folder / "contracts.py", spec.folder / "problem.py"]
    return digest_of(*(path.read_bytes() for path in paths if path.is_file()))


def _write_part(part: Part, folder: Path) -> None:
    days: dict[str, dict[str, int]] = {}
    for kind, frame in part.facts.items():
        for (month,), rows in frame.group_by(MONTH, maintain_order=True):
            target = folder / kind / f"{month}.parquet"
            target.parent.mkdir(exist_ok=True)
            rows.write_parquet(target)
        for day, count in frame.group_by(DAY, maintain_order=True).len().iter_rows():
            days.setdefault(day, {})[kind] = count
    write_json(folder / "counts.json", {"contracts": part.counts, "batches": days})
    quarantined = [frame.select(*QUARANTINE) for frame in part.quarantined]
    pl.concat([pl.DataFrame(schema=QUARANTINE), *quarantined]).write_parquet(folder / "quarantine.parquet")


@step
def part_of(
    source: Source, path: Path, landed: Landed, spec: Problem, cache: Path, landing: str | None = None
) -> Path:
    """Give the folder with the facts of one raw file; the file is read only if it or its code is new.

    Its digest is its name, unless it has not landed yet.
    """
    landing = landing or path.name
    beside = [file for name in source.beside for file in landed[name]]
    key = digest_of(source.name, landing, *(file.name for file in beside), _code(spec, source))
    folder = cache / "ingest" / key
    if not folder.is_dir():
        log.info("reading", extra={"source": source.name, "landing": landing[:12]})
        raw = read_raw(path, source, spec.contracts.SOURCES[source.name], landing)
        looked_up = {name: _rows(spec.source(name), landed[name], spec) for name in source.beside}
        with files.atomic_folder(folder) as temporary:
            _write_part(facts_of(raw, looked_up, source, spec), temporary)
    return folder


def known_days(part: Path) -> tuple[str, str] | None:
    """Give the first and the last day on which facts of a raw file became known; a lookup table has none."""
    days: list[str] = sorted(json.loads((part / "counts.json").read_text())["batches"])
    return (days[0], days[-1]) if days else None


def _rows(source: Source, paths: tuple[Path, ...], spec: Problem) -> pl.DataFrame:
    """Read the accepted rows of a source that others look things up in."""
    contract = spec.contracts.SOURCES[source.name]
    return pl.concat(contract.filter(read_raw(path, source, contract, path.name)).result for path in paths)


def _merged(paths: list[Path], contract: type[Fact], target: Path) -> int:
    """Make one file of several parts, and give the number of facts that had landed before."""
    if len(paths) == 1:
        shutil.copyfile(paths[0], target)
        return 0
    both = pl.concat(pl.read_parquet(path) for path in paths).sort(_total_order(contract))
    said = [name for name in both.columns if name not in Row.columns()]
    once = both.unique(said, keep="first", maintain_order=True)
    once.write_parquet(target)
    return both.height - once.height


@step
def write_facts(parts: Mapping[str, list[Path]], spec: Problem, folder: Path) -> dict[str, int]:
    """Write each kind's facts, a file a month of known dates; the same landing gives the same bytes in any order."""
    repeated: dict[str, int] = {}
    with files.atomic_folder(folder) as temporary:
        for source in spec.sources:
            for kind in source.kinds:
                (temporary / kind).mkdir()
                found = sorted(path for part in parts[source.name] for path in (part / kind).glob("*.parquet"))
                for month in sorted({path.name for path in found}):
                    same = [path for path in found if path.name == month]
                    again = _merged(same, spec.contracts.FACTS[kind], temporary / kind / month)
                    repeated[kind] = repeated.get(kind, 0) + again
    return repeated


@step
def write_quarantine(parts: Mapping[str, list[Path]], folder: Path) -> None:
    """Write what was refused, a file a source."""
    with files.atomic_folder(folder) as temporary:
        for source, paths in parts.items():
            rows = pl.concat(pl.read_parquet(path / "quarantine.parquet") for path in paths)
            rows.sort("landing", "row", "contract").write_parquet(temporary / f"{source}.parquet")


@step
def report(parts: Mapping[str, list[Path]], landed: Landed, repeated: Mapping[str, int]) -> dict[str, Any]:
    """Count rows by source, landed file, contract and rule, and facts by batch, which is a source's known date."""
    sources = {}
    for source, paths in parts.items():
        counts = [json.loads((path / "counts.json").read_text()) for path in paths]
        batches: dict[str, dict[str, int]] = {}
        for count in counts:
            for day, kinds in count["batches"].items():
                into = batches.setdefault(day, {})
                for kind, number in kinds.items():
                    into[kind] = into.get(kind, 0) + number
        by_file = {path.name: count["contracts"] for path, count in zip(landed[source], counts, strict=True)}
        sources[source] = {"landings": by_file, "batches": batches}
    return {"sources": sources, "repeated": dict(repeated)}
