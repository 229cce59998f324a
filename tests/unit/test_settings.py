"""Where things run comes from the environment, and needs nothing of it."""

from pathlib import Path

import pytest

from tandem.errors import ParamsError
from tandem.settings import Settings


def test_defaults_need_nothing_but_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "VAR", "TRACKING_URI"):
        monkeypatch.delenv(f"TANDEM_{name}", raising=False)
    settings = Settings.load()
    assert (settings.landing, settings.cache, settings.of("parcels")) == (
        Path("var/landing"),
        Path("var/cache"),
        Path("data/parcels"),
    )
    assert settings.tracking == f"sqlite:///{Path.cwd()}/var/mlflow/mlflow.db"


@pytest.mark.parametrize("uri", ["", "http://127.0.0.1:5000"])
def test_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("TANDEM_VAR", "/state")
    monkeypatch.setenv("TANDEM_TRACKING_URI", uri)
    settings = Settings.load()
    assert (settings.cache, settings.tracking) == (Path("/state/cache"), uri)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SNAPSHOTS_KEPT", "many", r".*, got 'many'"),
        ("DURABILITY", "x", "Expected one of process, power, off, got 'x'"),
        ("ACCEPT", "x", "Expected one of any, attested, got 'x'"),
        ("DRAIN_SECONDS", "inf", r".*3600.*, got 'inf'"),
        ("DRAIN_SECONDS", "nan", r".*, got 'nan'"),
    ],
)
def test_a_variable_that_is_not_what_it_may_be_is_named(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TANDEM_{name}", value)
    with pytest.raises(ParamsError, match=rf"not valid: TANDEM_{name}: {said}"):
        Settings.load()
