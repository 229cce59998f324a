"""Raw rows to facts by known date: each row and each fact meets its contract, and nothing is dropped in silence."""

import json
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from tandem import contracts, files, problem, processor, warehouse
from tandem.contracts import Contract, Row, SchemaError, code_of
from tandem.errors import ProblemError, SourceError
from tandem.files import digest_of, write_json
from tandem.problem import Problem, Source
from tandem.run import step
from tandem.warehouse import COMPRESSION, Connection, connect
from tasks import reading
from tasks.reading import read_raw

log = logging.getLogger(__name__)

Landed = Mapping[str, tuple[Path, ...]]
"""The landed files of each source."""
QUARANTINE = {"contract": pl.String, "rules": pl.String, "landing": pl.String, "row": pl.Int64, "values": pl.String}
MONTH = pl.col("known_at").dt.truncate("1mo")
DAY = pl.col("known_at").dt.date()


class Gate:
    """Lets rows of one landed file through that meet their contract, keeps the others, and counts both."""

    def __init__(self, landing: str, spec: Problem) -> None:
        """Begin with no rows."""
        self._landing = landing
        self._contracts: dict[str, Contract] = spec.contracts.SOURCES | spec.contracts.FACTS
        self._refused: dict[str, pl.DataFrame] = {}
        self._counts: dict[str, Any] = {}

    def admit(self, name: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Give the rows that meet the contract of this name, each with its landing."""
        contract = self._contracts[name]
        try:
            accepted, failure = contract.filter(frame.with_columns(landing=pl.lit(self._landing)))
        except SchemaError as exc:
            msg = f"{name}: {str(exc).splitlines()[0]}"
            raise ProblemError(msg) from exc
        if len(failure):
            self._refused[name] = _quarantined(name, failure.details(), contract)
        counted = {"rows": frame.height, "accepted": accepted.height, "quarantined": len(failure)}
        self._counts[name] = counted | {"rules": dict(sorted(failure.counts().items()))}
        return accepted

    def write(self, folder: Path) -> None:
        """Write what was refused, and what was counted, in an order that does not tell which kind came first."""
        write_json(
            folder / "counts.json", {name: self._counts[name] for name in self._contracts if name in self._counts}
        )
        refused = (self._refused[name] for name in self._contracts if name in self._refused)
        pl.concat([pl.DataFrame(schema=QUARANTINE), *refused]).write_parquet(folder / "quarantine.parquet")


def _quarantined(name: str, refused: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Turn refused rows of any contract into rows of one form, with the rules that each broke."""
    rules = sorted(set(refused.columns) - set(contract.column_names()))
    broken = (pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules)
    return refused.select(
        pl.lit(name).alias("contract"),
        pl.concat_str(broken, separator=",", ignore_nulls=True).alias("rules"),
        *Row.columns(),
        pl.struct(_said(contract)).struct.json_encode().alias("values"),
    )


def _said(contract: Contract) -> list[str]:
    """Name the columns that say something, without those that say where it came from."""
    return [name for name in contract.column_names() if name not in Row.columns()]


def _sql(spec: Problem, name: str) -> str:
    """Give the SQL of a kind of fact, or of what all kinds of a source share: that may be its rows as they are."""
    bare = name in spec.contracts.SOURCES and not (spec.folder / "facts" / f"{name}.sql").is_file()
    return "from raw" if bare else spec.sql(f"facts/{name}")


@contextmanager
def _named(spec: Problem, name: str) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as exc:
        msg = f"problems/{spec.name}/facts/{name}.sql does not run: {exc}"
        raise ProblemError(msg) from exc


@dataclass(frozen=True)
class Mapper:
    """How the rows of a source become facts."""

    source: Source
    beside: Mapping[str, pl.DataFrame]
    spec: Problem

    def write_part(self, raw: Path, landing: str, folder: Path) -> None:
        """Map one landed file, through the contracts of its rows and its facts; no frame outlives what it is for."""
        name, gate = self.source.name, Gate(landing, self.spec)
        with connect() as con:
            self._look_up(con)
            contract = self.spec.contracts.SOURCES[name]
            con.register("raw", gate.admit(name, read_raw(raw, self.source, contract)).drop("landing"))
            with _named(self.spec, name):
                con.sql(_sql(self.spec, name)).create(name)
            con.unregister("raw")
            with ThreadPoolExecutor(processor.THREADS) as pool:
                list(pool.map(partial(self._write_kind, con, gate, folder), self.source.kinds))
        gate.write(folder)

    def _look_up(self, con: Connection) -> None:
        for other, rows in self.beside.items():
            con.register(other, rows)

    def _write_kind(self, con: Connection, gate: Gate, folder: Path, kind: str) -> None:
        with con.cursor() as own, _named(self.spec, kind):
            self._look_up(own)
            facts = own.sql(_sql(self.spec, kind)).pl()
        _write_months(_once(gate.admit(kind, facts), self.spec.contracts.FACTS[kind], "row"), folder / kind)


def _once(facts: pl.DataFrame, contract: Contract, *origin: str) -> pl.DataFrame:
    """Put facts in their one order, which ends with where they came from; one said before is not said again."""
    said = _said(contract)
    first = ["known_at", *contracts.marked(contract, contracts.KEY)]
    ordered = facts.sort(first)
    if not ordered.select(_again(first).any()).item():  # then no other column has a say, and nothing is said twice
        return ordered
    return facts.sort(list(dict.fromkeys([*first, *said, *origin]))).filter(~_again(said))


def _again(names: list[str]) -> pl.Expr:
    """Tell the rows that are as the one before them."""
    return pl.all_horizontal(pl.col(names).eq_missing(pl.col(names).shift()))


def _write_months(facts: pl.DataFrame, folder: Path) -> None:
    """Write facts, which stand in the order of known dates, a file a month."""
    folder.mkdir()
    start = 0
    for rows, month in facts.select(MONTH.rle().struct.unnest()).iter_rows():
        facts.slice(start, rows).write_parquet(folder / f"{month:%Y-%m}.parquet", compression=COMPRESSION)
        start += rows


def _code(spec: Problem, source: Source) -> str:
    """Digest of all that maps this source's rows, so that a change makes its batches again, and only its."""
    sources = [source, *map(spec.source, source.beside)]
    met = [spec.contracts.SOURCES[each.name] for each in sources]
    met += [spec.contracts.FACTS[kind] for kind in source.kinds]
    own = [_sql(spec, name) for name in (source.name, *source.kinds)]
    modules = (contracts, files, problem, processor, warehouse, reading, sys.modules[__name__])
    shared = [Path(str(module.__file__)).read_bytes() for module in modules]
    engines = [f"{name} {version(name)}" for name in ("dataframely", "duckdb", "polars")]
    return digest_of(*map(repr, sources), *map(code_of, met), *own, *shared, *engines)


@step
def parts_of(source: Source, raw: Mapping[str, Path], landed: Landed, spec: Problem, cache: Path) -> list[Path]:
    """Give the folder with the facts of each raw file, told by its digest; it is read only if it or its code is new.

    Raises:
        SourceError: a file is not what it should be, or not what its digest says.

    """
    made_by = [*(file.name for name in source.beside for file in landed[name]), _code(spec, source)]
    parts = {digest: cache / "ingest" / digest_of(source.name, digest, *made_by) for digest in raw}
    new = [digest for digest, folder in parts.items() if not folder.is_dir()]
    beside = {name: looked_up(spec.source(name), landed[name], spec) for name in source.beside} if new else {}
    mapper = Mapper(source, beside, spec)
    for digest in new:
        log.info("%s: reading %s", source.name, digest[:12])
        with files.atomic_folder(parts[digest]) as temporary:
            mapper.write_part(raw[digest], digest, temporary)
            if files.sha256_of(raw[digest]) != digest:
                msg = f"{raw[digest]} ({source.name}): it was changed while it was read"
                raise SourceError(msg)
            _add_up(temporary)
    for folder in parts.values():
        _add_up(folder)
    return list(parts.values())


def all_parts(landed: Landed, spec: Problem, cache: Path) -> dict[str, list[Path]]:
    """Give the parts of all sources."""
    return {
        source.name: parts_of(source, {path.name: path for path in landed[source.name]}, landed, spec, cache)
        for source in spec.sources
    }


def looked_up(source: Source, paths: Sequence[Path], spec: Problem) -> pl.DataFrame:
    """Read the accepted rows of a source that others look things up in.

    Raises:
        SourceError: of one key two files say different things, and neither is the later one: a lookup has no time.

    """
    contract = spec.contracts.SOURCES[source.name]
    rows = pl.concat(Gate(path.name, spec).admit(source.name, read_raw(path, source, contract)) for path in paths)
    rows = rows.unique(_said(contract), keep="first", maintain_order=True)
    key = contract.primary_key()
    if key and (other := rows.filter(pl.struct(key).is_duplicated())).height:
        named = ", ".join(f"{name} {other[name][0]!r}" for name in key)
        told = " and ".join(other.head(1).join(other, on=key)["landing_right"])
        msg = f"{source.name}: of {named} {told} say different things: take one of them out of data/sources.lock"
        raise SourceError(msg)
    return rows


def _add_up(part: Path) -> None:
    """Hold what was read against what is there: rows in = accepted + quarantined, by each contract."""
    refused = Counter(pl.read_parquet(part / "quarantine.parquet", columns=["contract"])["contract"])
    for name, counted in _counts(part).items():
        if counted["rows"] != counted["accepted"] + refused[name]:
            msg = f"{part}: {name}: {counted}, and {refused[name]} rows in quarantine, do not add up"
            raise ProblemError(msg)


def _counts(part: Path) -> dict[str, dict[str, Any]]:
    counts: dict[str, dict[str, Any]] = json.loads((part / "counts.json").read_text())
    return counts


def refused_by(part: Path) -> dict[str, int]:
    """Count the rows and facts of a raw file that are in quarantine, by contract and the rule that they broke."""
    counted = ((name, counts["rules"]) for name, counts in _counts(part).items())
    return {f"{name}.{rule}": count for name, rules in counted for rule, count in rules.items()}


def known_days(part: Path) -> tuple[str, str] | None:
    """Give the first and the last day on which facts of a raw file became known; a lookup table has none."""
    months = [pl.read_parquet(path, columns=["known_at"])["known_at"] for path in part.glob("*/*.parquet")]
    days = [moment.date().isoformat() for known in months for moment in (known[0], known[-1])]
    return (min(days), max(days)) if days else None


@step
def write_facts(parts: Mapping[str, list[Path]], spec: Problem, folder: Path) -> None:
    """Write each kind's facts, a file a month of known dates; the same landing gives the same bytes in any order."""
    with files.atomic_folder(folder) as temporary:
        for source in spec.sources:
            for kind in source.kinds:
                (temporary / kind).mkdir()
                contract = spec.contracts.FACTS[kind]
                found = [path for part in parts[source.name] for path in (part / kind).iterdir()]
                for month in sorted({path.name for path in found}):
                    _merge([path for path in found if path.name == month], contract, temporary / kind / month)
                if not found:  # a view may ask for what has never happened
                    contract.create_empty().write_parquet(temporary / kind / "none.parquet")


def _merge(paths: list[Path], contract: Contract, target: Path) -> None:
    if len(paths) == 1:
        shutil.copyfile(paths[0], target)
    else:
        facts = pl.concat(pl.read_parquet(path) for path in paths)
        _once(facts, contract, "landing", "row").write_parquet(target, compression=COMPRESSION)


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
