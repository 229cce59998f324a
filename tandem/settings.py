"""Where things run, by environment variables named TANDEM_*; what shapes the model is in params.yaml."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from tandem.errors import ParamsError, brief

PREFIX = "TANDEM_"
Accept = Literal["any", "attested"]
Positive = Annotated[int, msgspec.Meta(gt=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
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
    """Which bundles may answer: any, or those that a trusted key approved of."""
    trust: Path | None = None
    """Public keys that are trusted, `*.pub`; none given: var/trust."""
    sticky_by: str = ""
    """The request's fields by which it finds the same variant again, by comma; none given: its own keys."""
    rehearsal_seconds: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """How long a bundle may take to answer its golden requests before it is served."""
    rehearsal_mib: Positive = 1024
    """How much memory it may take."""
    nested: bool = True
    """Whether a stage that is run by a Prefect flow shows its own tasks there; 3 s a stage."""
    snapshots_kept: Positive = 144
    """Older snapshots are deleted; with a tick of ten minutes these are a day's."""
    durability: Literal["process", "power", "off"] = "process"
    """What an answered prediction survives: the process's end, the machine's too, or nothing."""
    ledger_kept: Annotated[float, msgspec.Meta(ge=1, le=36525)] = 7.0
    """Days for which a segment of the ledger stays once it is Parquet."""
    any_moment: bool = False
    """Whether a request may name the moment it is asked at, as replays do."""
    access: Literal["auto", "keys"] = "auto"
    """Who may ask: on loopback anybody, elsewhere who shows a key; or always who shows a key."""
    access_log: bool = False
    """Whether a server logs each answer, and not only those that failed."""
    requests_at_once: Positive = 64
    """Requests that a worker answers at a time; more are sent away."""
    bytes_at_once: Positive = 4 * 1024 * 1024
    """Bytes of bodies that a worker answers at a time."""
    drain_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 3.0
    """How long a worker that was told to stop answers on."""

    @classmethod
    def load(cls) -> "Settings":
        """Read the environment.

        Raises:
            ParamsError: a variable holds what it cannot.

        """
        variables = {name: os.environ.get(PREFIX + name.upper()) for name in cls.__struct_fields__}
        given = {name: value for name, value in variables.items() if value is not None}
        try:
            return msgspec.convert(given, cls, strict=False, dec_hook=_path)
        except msgspec.ValidationError as exc:
            what, _, where = str(exc).partition(" - at `$.")
            name = where.strip("`")
            if what.startswith("Invalid enum"):
                what = f"Expected one of {', '.join(get_args(get_type_hints(cls)[name]))}"
            msg = f"the environment is not valid: {PREFIX}{name.upper()}: {what}, got {brief(given[name])}"
            raise ParamsError(msg) from exc

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
    def pseudonyms(self) -> Path:
        """The secret behind the names that stand in the ledger for what is personal."""
        return self.var / "pseudonyms.key"

    @property
    def sticky_fields(self) -> tuple[str, ...]:
        """The fields of `sticky_by`."""
        return tuple(name.strip() for name in self.sticky_by.split(",") if name.strip())

    @property
    def trusted(self) -> Path:
        """Public keys of those whose word counts."""
        return self.trust or self.var / "trust"

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


def _path(kind: type[Any], value: object) -> object:
    """Make what msgspec does not know of itself."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError
