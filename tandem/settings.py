"""Where things run, by environment variables named TANDEM_*; what shapes the model is in params.yaml."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from tandem.params import Frozen

PREFIX = "TANDEM_"
Accept = Literal["any", "attested"]


class Settings(Frozen):
    """Defaults need nothing but this folder."""

    data: Path = Path("data")
    """DVC's: derived and deletable, except sources.lock."""
    var: Path = Path("var")
    """State: landing, caches, tracking."""
    tracking_uri: str | None = None
    """Where trials can be watched; none given: SQLite under var/mlflow. Empty: nowhere."""
    first_publish: Literal["champion", "nothing"] = "champion"
    """What the first bundle of a workspace becomes by itself."""
    accept: Accept = "any"
    """Which bundles may become champion."""
    nested: bool = True
    """Whether a stage that is run by a Prefect flow shows its own tasks there; 3 s a stage."""
    snapshots_kept: int = Field(default=144, gt=0)
    """Older snapshots are deleted; with a tick of ten minutes these are a day's."""
    durability: Literal["process", "power", "off"] = "process"
    """What an answered prediction survives: the process's end, the machine's too, or nothing."""
    ledger_kept: float = Field(default=7.0, ge=1)
    """Days for which a segment of the ledger stays once it is Parquet."""
    any_moment: bool = False
    """Whether a request may name the moment it is asked at, as replays do."""
    access: Literal["auto", "keys"] = "auto"
    """Who may ask: on loopback anybody, elsewhere who shows a key; or always who shows a key."""
    in_flight: int = Field(default=64, gt=0)
    """Requests that a worker answers at a time; more are sent away."""
    bytes_in_flight: int = Field(default=4 * 1024 * 1024, gt=0)
    """Bytes of bodies that a worker answers at a time."""
    drain_seconds: float = Field(default=3.0, ge=0)
    """How long a worker that was told to stop answers on."""

    @classmethod
    def load(cls) -> Self:
        """Read the environment; pydantic-settings would do it too, for a quarter of a second in every process."""
        given = {name: os.environ.get(PREFIX + name.upper()) for name in cls.model_fields}
        return cls.model_validate({name: value for name, value in given.items() if value is not None})

    @property
    def landing(self) -> Path:
        """Raw files as they came, named by their digest."""
        return self.var / "landing"

    @property
    def cache(self) -> Path:
        """What must survive a killed stage, addressed by the digest of what made it."""
        return self.var / "cache"

    @property
    def clock(self) -> Path:
        """World time, shared by all processes."""
        return self.var / "clock.json"

    @property
    def schedule(self) -> Path:
        """When what is done again and again was done last, and who is at it."""
        return self.var / "schedule"

    @property
    def ledger(self) -> Path:
        """What was predicted, what came true, and who changed what."""
        return self.var / "ledger"

    @property
    def keys(self) -> Path:
        """Digests of the keys that clients show."""
        return self.var / "keys.json"

    @property
    def serving(self) -> Path:
        """What serving reads, and nothing else does it read."""
        return self.var / "serving"

    @property
    def snapshots(self) -> Path:
        """The views' values at each tick, for serving."""
        return self.serving / "snapshots"

    @property
    def tracking(self) -> str:
        """The tracking URI that is meant."""
        if self.tracking_uri is not None:
            return self.tracking_uri
        return f"sqlite:///{(self.var / 'mlflow' / 'mlflow.db').absolute()}"

    def of(self, problem: str) -> Path:
        """A problem's part of the data."""
        return self.data / problem
