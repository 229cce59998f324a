"""Compare two training sets: every column and row, numbers to a relative 1e-9; exit with 1 if they differ."""

import sys

import polars as pl

CLOSE = 1e-9


def differences(ours: pl.DataFrame, theirs: pl.DataFrame) -> list[str]:
    """Say what differs."""
    if ours.height != theirs.height or set(ours.columns) != set(theirs.columns):
        unlike = sorted(set(ours.columns) ^ set(theirs.columns))
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


if __name__ == "__main__":
    sys.exit("\n".join(differences(*map(pl.read_parquet, sys.argv[1:3]))) or 0)
