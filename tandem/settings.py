"""Where things run, by environment variables named TANDEM_*; what shapes the model is in params.yaml."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError

from tandem.errors import ParamsError
from tandem.params import Frozen, wrong_in

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

    @classmethod
    def load(cls) -> Self:
        """Read the environment; pydantic-settings would do it too, for a quarter of a second in every process.

        Raises:
            ParamsError: a variable is not what it may be.

        """
        given = {name: os.environ.get(PREFIX + name.upper()) for name in cls.model_fields}
        try:
            return cls.model_validate({name: value for name, value in given.items() if value is not None})
        except ValidationError as exc:
            names = [PREFIX + str(error["loc"][0]).upper() for error in exc.errors()]
            msg = f"the environment is not valid, in {', '.join(names)}:"
            raise ParamsError("\n  ".join([msg, *wrong_in(exc)])) from exc

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
    def snapshots(self) -> Path:
        """The views' values at each tick, for serving."""
        return self.var / "serving" / "snapshots"

    @property
    def tracking(self) -> str:
        """The tracking URI that is meant."""
        if self.tracking_uri is not None:
            return self.tracking_uri
        return f"sqlite:///{(self.var / 'mlflow' / 'mlflow.db').absolute()}"

    def of(self, problem: str) -> Path:
        """A problem's part of the data."""
        return self.data / problem
