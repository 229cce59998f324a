"""Raw rows to facts by known date: each row and each fact meets its contract, and nothing is dropped in silence."""

import json
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dataframely as dy
import duckdb
import polars as pl

from tandem import contracts, files, problem, processor, warehouse
from tandem.contracts import Fact, Row
from tandem.errors import ProblemError, SourceError
from tandem.files import digest_of, write_json
from tandem.problem import Problem, Source
from tandem.run import step
from tandem.warehouse import connect
from tasks import reading
from tasks.reading import read_raw

log = logging.getLogger(__name__)

Landed = Mapping[str, tuple[Path, ...]]
"""The landed files of each source."""
QUARANTINE = {"contract": pl.String, "rules": pl.String, "landing": pl.String, "row": pl.Int64, "values": pl.String}
MONTH = pl.col("known_at").dt.truncate("1mo")
DAY = pl.col("known_at").dt.date()


@dataclass
class Part:
    """What one landed file gives."""

    facts: dict[str, pl.DataFrame] = field(default_factory=dict)
    quarantined: list[pl.DataFrame] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)

    def admit(self, frame: pl.DataFrame, contract: type[dy.Schema], name: str) -> pl.DataFrame:
        """Let the rows through that meet the contract, quarantine the others with the rules they broke, count both."""
        try:
            accepted, failure = contract.filter(frame)
        except dy.exc.SchemaError as exc:
            msg = f"{name}: {str(exc).splitlines()[0]}"
            raise ProblemError(msg) from exc
        refused = failure.details()
        if not refused.is_empty():
            self.quarantined.append(_quarantined(refused, contract).with_columns(contract=pl.lit(name)))
        counted = {"rows": frame.height, "accepted": accepted.height, "quarantined": refused.height}
        self.counts[name] = counted | {"rules": dict(sorted(failure.counts().items()))}
        return accepted


def _quarantined(refused: pl.DataFrame, contract: type[dy.Schema]) -> pl.DataFrame:
    """Turn refused rows of any contract into rows of one form."""
    rules = [name for name in refused.columns if name not in contract.columns()]
    broken = pl.concat_list(pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules)
    return refused.select(
        "landing", "row", rules=broken.list.drop_nulls().list.sort().list.join(","), values=pl.struct(_said(contract))
    ).with_columns(pl.col("values").struct.json_encode())


@step
def facts_of(raw: pl.DataFrame, beside: Mapping[str, pl.DataFrame], source: Source, spec: Problem) -> Part:
    """Map the rows of one landed file to facts, through the contracts of both."""
    part = Part()
    accepted = part.admit(raw, spec.contracts.SOURCES[source.name], source.name)
    with connect() as con:
        for name, frame in {**beside, "raw": accepted}.items():
            con.register(name, frame)
        if _sql(spec, source.name).is_file():
            with _sql_named(spec, source.name) as sql:
                con.sql(sql).create(source.name)
        else:
            con.register(source.name, accepted)
        for kind in source.kinds:
            with _sql_named(spec, kind) as sql:
                facts = con.sql(sql).pl()
            contract = spec.contracts.FACTS[kind]
            part.facts[kind] = _once(part.admit(facts, contract, kind), contract)
    return part


def _sql(spec: Problem, name: str) -> Path:
    return spec.folder / "facts" / f"{name}.sql"


@contextmanager
def _sql_named(spec: Problem, name: str) -> Iterator[str]:
    """Give the SQL of a kind of fact, or of what all kinds of a source share, and say where it stands if it fails."""
    try:
        yield spec.sql(f"facts/{name}")
    except duckdb.Error as exc:
        msg = f"problems/{spec.name}/facts/{name}.sql does not run: {exc}"
        raise ProblemError(msg) from exc


def _said(contract: type[dy.Schema]) -> list[str]:
    """Name the columns that say something, without those that say where it came from."""
    return [name for name in contract.column_names() if name not in Row.columns()]


def _once(facts: pl.DataFrame, contract: type[Fact]) -> pl.DataFrame:
    """Put facts in their one order; one that was said before, in any file, is not said again."""
    said = _said(contract)
    first = ["known_at", *contracts.marked(contract, contracts.KEY)]
    ordered = facts.sort(list(dict.fromkeys([*first, *said, *Row.columns()])))
    again = pl.all_horizontal(pl.col(said).eq_missing(pl.col(said).shift()))
    return ordered.filter(~again)


def _code(spec: Problem, source: Source) -> str:
    """Digest of all that maps this source's rows, so that a change makes its batches again, and only its."""
    sources = [source, *map(spec.source, source.beside)]
    met = [spec.contracts.SOURCES[each.name] for each in sources] + [
        spec.contracts.FACTS[kind] for kind in source.kinds
    ]
    paths = [_sql(spec, name) for name in (source.name, *source.kinds)]
    own = [f"{path.name}\n{path.read_text()}" for path in paths if path.is_file()]
    modules = (contracts, files, problem, processor, warehouse, reading, sys.modules[__name__])
    shared = [Path(str(module.__file__)).read_bytes() for module in modules]
    engines = [f"{module.__name__} {module.__version__}" for module in (dy, duckdb, pl)]
    return digest_of(*map(repr, sources), *map(contracts.code_of, met), *own, *shared, *engines)


def _write_part(part: Part, folder: Path) -> None:
    for kind, frame in part.facts.items():
        for (month,), rows in frame.group_by(MONTH, maintain_order=True):
            target = folder / kind / f"{month:%Y-%m}.parquet"
            target.parent.mkdir(exist_ok=True)
            rows.write_parquet(target)
    days = [day.isoformat() for frame in part.facts.values() for day in frame["known_at"].dt.date().unique()]
    known = [min(days), max(days)] if days else None
    write_json(folder / "counts.json", {"contracts": part.counts, "known": known})
    quarantined = [frame.select(*QUARANTINE) for frame in part.quarantined]
    pl.concat([pl.DataFrame(schema=QUARANTINE), *quarantined]).write_parquet(folder / "quarantine.parquet")


@step
def parts_of(source: Source, raw: Mapping[str, Path], landed: Landed, spec: Problem, cache: Path) -> list[Path]:
    """Give the folder with the facts of each raw file, told by its digest; it is read only if it or its code is new.

    Raises:
        SourceError: a file is not what it should be, or not what its digest says.

    """
    made_by = [*(file.name for name in source.beside for file in landed[name]), _code(spec, source)]
    parts = {digest: cache / "ingest" / digest_of(source.name, digest, *made_by) for digest in raw}
    new = [digest for digest, folder in parts.items() if not folder.is_dir()]
    beside = {name: _rows(spec.source(name), landed[name], spec) for name in source.beside} if new else {}
    for digest in new:
        log.info("%s: reading %s", source.name, digest[:12])
        rows = read_raw(raw[digest], source, spec.contracts.SOURCES[source.name], digest)
        if files.sha256_of(raw[digest]) != digest:
            msg = f"{raw[digest]} ({source.name}): it was changed while it was read"
            raise SourceError(msg)
        with files.atomic_folder(parts[digest]) as temporary:
            _write_part(facts_of(rows, beside, source, spec), temporary)
            _add_up(temporary)
    for folder in parts.values():
        _add_up(folder)
    return list(parts.values())


def _add_up(part: Path) -> None:
    """Hold what was read against what is there: rows in = accepted + quarantined, by each contract."""
    refused = Counter(pl.read_parquet(part / "quarantine.parquet", columns=["contract"])["contract"])
    for name, counted in _counts(part).items():
        if counted["rows"] != counted["accepted"] + refused[name]:
            msg = f"{part}: {name}: {counted}, and {refused[name]} rows in quarantine, do not add up"
            raise ProblemError(msg)


def known_days(part: Path) -> tuple[str, str] | None:
    """Give the first and the last day on which facts of a raw file became known; a lookup table has none."""
    known = _summary(part)["known"]
    return (known[0], known[1]) if known else None


def _counts(part: Path) -> dict[str, dict[str, Any]]:
    counts: dict[str, dict[str, Any]] = _summary(part)["contracts"]
    return counts


def _summary(part: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((part / "counts.json").read_text())
    return summary


def _rows(source: Source, paths: tuple[Path, ...], spec: Problem) -> pl.DataFrame:
    """Read the accepted rows of a source that others look things up in."""
    contract = spec.contracts.SOURCES[source.name]
    rows: pl.DataFrame = pl.concat(
        contract.filter(read_raw(path, source, contract, path.name)).result for path in paths
    )
    return rows.unique(_said(contract), keep="first", maintain_order=True)


def _merge(paths: list[Path], contract: type[Fact], target: Path) -> None:
    if len(paths) == 1:
        shutil.copyfile(paths[0], target)
    else:
        _once(pl.concat(pl.read_parquet(path) for path in paths), contract).write_parquet(target)


@step
def write_facts(parts: Mapping[str, list[Path]], spec: Problem, folder: Path) -> None:
    """Write each kind's facts, a file a month of known dates; the same landing gives the same bytes in any order."""
    with files.atomic_folder(folder) as temporary:
        for source in spec.sources:
            for kind in source.kinds:
                (temporary / kind).mkdir()
                contract = spec.contracts.FACTS[kind]
                found = sorted(path for part in parts[source.name] for path in (part / kind).glob("*.parquet"))
                for month in sorted({path.name for path in found}):
                    _merge([path for path in found if path.name == month], contract, temporary / kind / month)
                if not found:  # a view may ask for what has never happened
                    contract.create_empty().write_parquet(temporary / kind / "none.parquet")


@step
def facts_in_cache(parts: Mapping[str, list[Path]], spec: Problem, cache: Path) -> Path:
    """Give a folder with all facts, addressed by the parts they are of: for those that do not wait for the graph."""
    folder = cache / "facts" / digest_of(spec.name, *(path.name for paths in parts.values() for path in paths))
    if not folder.is_dir():
        write_facts(parts, spec, folder)
    return folder


@step
def write_quarantine(parts: Mapping[str, list[Path]], folder: Path) -> None:
    """Write what was refused, a file a source."""
    with files.atomic_folder(folder) as temporary:
        for source, paths in parts.items():
            rows = pl.concat(pl.read_parquet(path / "quarantine.parquet") for path in paths)
            rows.sort("landing", "row", "contract", "values").write_parquet(temporary / f"{source}.parquet")


@step
def report(parts: Mapping[str, list[Path]], landed: Landed, spec: Problem, facts: Path) -> dict[str, Any]:
    """Count rows by source, landed file, contract and rule, and facts by batch, which is a source's known date."""
    sources: dict[str, Any] = {}
    repeated: dict[str, int] = {}
    for source, paths in parts.items():
        by_file = {path.name: _counts(part) for path, part in zip(landed[source], paths, strict=True)}
        batches: dict[str, dict[str, int]] = {}
        for kind in spec.source(source).kinds:
            days = pl.scan_parquet(facts / kind / "*.parquet").group_by(DAY.alias("day")).len().sort("day").collect()
            for day, count in days.iter_rows():
                batches.setdefault(day.isoformat(), {})[kind] = count
            accepted = sum(counts[kind]["accepted"] for counts in by_file.values())
            repeated[kind] = accepted - days["len"].sum()
        sources[source] = {"landings": by_file, "batches": dict(sorted(batches.items()))}
    return {"sources": sources, "repeated": repeated}
