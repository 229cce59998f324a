"""What tests of ingest start from."""

from pathlib import Path

import dataframely as dy
import polars as pl
import pytest
from conftest import Workspace

import tasks.ingest
from tandem.problem import Source
from tasks.reading import read_raw


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The raw files that are read from here on, each by its source and digest."""
    seen: list[str] = []

    def seeing(path: Path, source: Source, contract: type[dy.Schema]) -> pl.DataFrame:
        seen.append(f"{source.name} {path.name}")
        return read_raw(path, source, contract)

    monkeypatch.setattr(tasks.ingest, "read_raw", seeing)
    return seen


@pytest.fixture
def ingested(landed: Workspace) -> Workspace:
    landed.run("ingest")
    return landed
