"""How a walk is shown: a live picture on a terminal, plain lines elsewhere, lines of JSON if they are asked for."""

import io
import json
import sys

import pytest
from rich.console import Console

from tandem.graph import StageRun
from tandem.log import FORMAT
from tasks.progress import Counter, JsonLines, Lines, Live, shown
from tasks.walk import Show


def walked(show: Show) -> None:
    """What a walk of three stages tells."""
    show.started("ingest")
    show.said("ingest", "flights: reading")
    show.ended(StageRun("ingest", ran=True, seconds=2.5))
    show.started("views")
    show.ended(StageRun("views", ran=False, seconds=0.1))
    show.started("tune")
    show.said("tune", "trial 1 of 5")
    show.failed("tune", "no luck\nand why")


def test_lines_are_one_a_stage_and_words_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    walked(Lines())
    out, err = capsys.readouterr()
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ingest", "ran"],
        ["views", "cached"],
        ["tune", "failed"],
    ]
    assert out.splitlines()[-1].endswith("no luck")
    assert err.splitlines()[:2] == ["flights: reading", "trial 1 of 5"]


def test_json_tells_each_thing_that_happens(capsys: pytest.CaptureFixture[str]) -> None:
    walked(JsonLines())
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["stage"], each["event"]) for each in said] == [
        ("ingest", "started"), ("ingest", "said"), ("ingest", "ran"), ("views", "started"), ("views", "cached"),
        ("tune", "started"), ("tune", "said"), ("tune", "failed"),
    ]  # fmt: skip
    assert said[-1]["reason"] == "no luck\nand why"


def test_the_live_picture_holds_each_stage_and_its_last_words() -> None:
    live = Live()
    walked(live)
    live.started("train")
    target = io.StringIO()
    Console(file=target, width=100).print(live.drawn.get_renderable())
    lines = target.getvalue().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ingest", "ran"], ["views", "cached"], ["tune", "failed"], ["train", "running"],
    ]  # fmt: skip
    assert "flights: reading" in lines[0]
    assert "no luck" in lines[2]


def test_it_is_chosen_by_what_it_is_shown_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown() as show:
        assert isinstance(show, Lines)
    monkeypatch.setenv(FORMAT, "json")
    with shown() as show:
        assert isinstance(show, JsonLines)
    monkeypatch.delenv(FORMAT)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with shown() as show:
        assert isinstance(show, Live)


def test_rows_are_counted_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 1.0, 10.0, 12.0, 20.5])
    monkeypatch.setattr("tasks.progress.time.monotonic", lambda: next(clock))
    counter = Counter("scored", 4000)
    for done in (100, 1000, 1200, 4000):
        counter(done)
    counter.end()
    assert capsys.readouterr().err.splitlines() == [
        "scored 1,000 of 4,000 rows, 100 a second",
        "scored 4,000 of 4,000 rows, 195 a second",
    ]
