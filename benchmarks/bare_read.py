"""Read raw files and write them as Parquet, as fast as one engine can: no facts, no contracts, no quarantine."""

import sys
import time
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory


def duckdb_reads(tables: list[Path], target: Path) -> float:
    """Let DuckDB do it."""
    import duckdb  # noqa: PLC0415 - only the engine that is measured

    start = time.perf_counter()
    for table in unpacked(tables, target):
        columns = f"read_csv('{table}', nullstr='NA')"
        duckdb.execute(f"copy (from {columns}) to '{target / table.name}.parquet'")
    return time.perf_counter() - start


def polars_reads(tables: list[Path], target: Path) -> float:
    """Let Polars do it, streaming."""
    import polars as pl  # noqa: PLC0415 - only the engine that is measured

    start = time.perf_counter()
    for table in unpacked(tables, target):
        rows = pl.scan_csv(table, null_values="NA", infer_schema_length=10_000)
        typed = rows.with_columns(pl.col("^time_hour$").str.to_datetime("%Y-%m-%dT%H:%M:%SZ"))
        typed.sink_parquet(target / f"{table.name}.parquet")
    return time.perf_counter() - start


def unpacked(tables: list[Path], folder: Path) -> list[Path]:
    """Take what is zipped out of its zip: neither engine reads one."""
    found = []
    for table in tables:
        if not zipfile.is_zipfile(table):
            found.append(table)
            continue
        with zipfile.ZipFile(table) as archive:
            found += [Path(archive.extract(name, folder)) for name in archive.namelist() if name.endswith(".csv")]
    return found


if __name__ == "__main__":
    reads = {"duckdb": duckdb_reads, "polars": polars_reads}[sys.argv[1]]
    with TemporaryDirectory() as temporary:
        print(f"work {reads([Path(table) for table in sys.argv[2:]], Path(temporary))}")
