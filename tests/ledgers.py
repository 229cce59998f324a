"""Rows of a ledger, written and asked for, as tests of it do."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tandem.history import History
from tandem.serving.records import Label, Prediction, Records

DAY = datetime(2024, 4, 15)  # noqa: DTZ001


def prediction(number: int, days: float = 0, **request: object) -> Prediction:
    return Prediction(
        world=DAY + timedelta(days=days),
        wall=(DAY + timedelta(days=days)).replace(tzinfo=UTC),
        problem="p",
        request=msgspec.Raw(json.dumps({"parcel": f"P{number}", **request}).encode()),
        features=np.array([number, np.nan, -0.0], dtype=np.float32).tobytes(),
        score=number / 7,
        action="act",
        variant="champion",
        bundle="b" * 64,
        snapshot="s" * 64,
        tick=DAY,
        generation=3,
        contract="c" * 64,
        microseconds=12.5,
        unknown=("courier.pace",),
    )


def label(*, said: bool, known: float | None = None, wall: float = 0, **to: Any) -> Label:  # noqa: ANN401
    return Label(
        world=DAY + timedelta(days=wall),
        wall=(DAY + timedelta(days=wall)).replace(tzinfo=UTC),
        problem="p",
        label=said,
        known_at=None if known is None else DAY + timedelta(days=known),
        **to,
    )


yes, no = partial(label, said=True), partial(label, said=False)


def write(folder: Path, *rows: Any) -> list[str]:  # noqa: ANN401
    records = Records(folder)
    try:
        return records.append(rows)
    finally:
        records.close()


def asked(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with History.open(folder) as history:
        found = list(history.ask(sql).rows)
        assert history.damaged == []
        return found
