"""Compare files, or the files of folders: every column and row, numbers to a relative 1e-9; exit with 1 if they differ.

Example: python benchmarks/same.py OURS THEIRS
"""

import sys
from pathlib import Path

import polars as pl

CLOSE = 1e-9


def differences(ours: pl.DataFrame, theirs: pl.DataFrame) -> list[str]:
    """Say what differs."""
    if ours.height != theirs.height or set(ours.schema.items()) != set(theirs.schema.items()):
        unlike = sorted(f"{name} {kind}" for name, kind in ours.schema.items() ^ theirs.schema.items())
        return [f"{ours.height} and {theirs.height} rows; only on one side: {', '.join(unlike) or 'no column'}"]
    found = []
    for name in ours.columns:
        a, b = ours[name], theirs[name]
        same = a.eq_missing(b)
        if a.dtype.is_float():
            same |= ((a - b).abs() <= CLOSE * a.abs()).fill_null(value=False)
        if not same.all():
            first = [column.filter(~same)[0] for column in (a, b)]
            found.append(f"{name}: {(~same).sum()} rows, the first {first[0]} and {first[1]}")
    return found


def compared(ours: Path, theirs: Path) -> list[str]:
    """Say what differs in a file, or in any of a folder."""
    if ours.is_file():
        return [f"{ours.name}: {each}" for each in differences(pl.read_parquet(ours), pl.read_parquet(theirs))]
    names, others = (sorted(path.name for path in folder.glob("*.parquet")) for folder in (ours, theirs))
    if names != others:
        return [f"{ours} has {', '.join(names)}; {theirs} has {', '.join(others)}"]
    return [each for name in names for each in compared(ours / name, theirs / name)]


if __name__ == "__main__":
    sys.exit("\n".join(compared(*map(Path, sys.argv[1:3]))) or 0)
