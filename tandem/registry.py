"""The registry: MLflow's versions, and which of them takes traffic.

Who takes traffic is one state, numbered by its generation. A change is first an event of the audit, and then shown in
MLflow by a tag and aliases: so a change that was cut off between the two is finished by whoever comes next, and MLflow
never tells two halves. One lock in the workspace orders all that writes.
"""

import getpass
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, Self

from filelock import FileLock
from pydantic import Field, model_validator

from tandem import ledger
from tandem.attestations import LARGEST as LARGEST_ENVELOPE
from tandem.attestations import key_of, name_of
from tandem.bundle import LARGEST, MOST_FILES, Bundle
from tandem.clock import Clock, wall_now
from tandem.errors import BundleError, ConflictError, MissingError, RegistryError, TrackerError
from tandem.files import writing
from tandem.mlflow_client import client_at, experiment_of
from tandem.params import Frozen
from tandem.settings import Settings
from tandem.tracking import QUIET

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

Role = Literal["champion", "challenger", "shadow"]
ROLES: tuple[Role, ...] = ("champion", "challenger", "shadow")
DIGEST, AS_OF, COMMIT, DIRTY = "tandem.digest", "tandem.as_of", "tandem.commit", "tandem.dirty"
FIGURES, PROPOSAL, STATE, ATTESTED = "tandem.figures", "tandem.proposal", "tandem.state", "tandem.attested"
SHORTEST = 6
FOLDER, ATTESTATIONS = "bundle", "attestations"
DEEPEST = 16
"""Folders within folders."""


class State(Frozen):
    """Which bundles take traffic, by digest."""

    generation: int = Field(default=0, ge=0)
    champion: str | None = None
    challenger: str | None = None
    share: float = Field(default=0.0, ge=0, le=1, description="of the requests, that the challenger answers")
    shadow: str | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        named = [digest for digest in (self.champion, self.challenger, self.shadow) if digest]
        if len(set(named)) < len(named):
            msg = "one bundle cannot be two of champion, challenger and shadow"
            raise ValueError(msg)
        if named and not self.champion:
            msg = "there is no challenger and no shadow without a champion"
            raise ValueError(msg)
        if self.share and not self.challenger:
            msg = "there is no share without a challenger"
            raise ValueError(msg)
        return self

    def of(self, digest: str) -> tuple[Role, ...]:
        """Name what a bundle is."""
        return tuple(role for role in ROLES if getattr(self, role) == digest)


class Version(Frozen):
    """One version of a problem's model."""

    version: int
    digest: str
    as_of: datetime
    created: datetime
    run: str
    commit: str | None
    dirty: bool
    """Whether it was made of code that no commit holds."""
    attested: bool
    figures: dict[str, float | None]
    proposal: dict[str, Any] | None

    @classmethod
    def read(cls, found: "ModelVersion") -> Self:
        """Take over what MLflow keeps."""
        tags: dict[str, str] = dict(found.tags)
        created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).replace(tzinfo=None)
        return cls(
            version=int(found.version),
            digest=tags[DIGEST],
            as_of=datetime.fromisoformat(tags[AS_OF]),
            created=created,
            run=str(found.run_id),
            commit=tags.get(COMMIT),
            dirty=tags[DIRTY] != "no",
            attested=ATTESTED in tags,
            figures=json.loads(tags.get(FIGURES, "{}")),
            proposal=json.loads(tags.get(PROPOSAL, "null")),
        )


def actor() -> str:
    """Name who does it."""
    return os.environ.get("TANDEM_ACTOR") or getpass.getuser()


class Registry:
    """The versions of one problem, and their state."""

    def __init__(self, problem: str, settings: Settings, clock: Clock) -> None:
        """Open nothing yet."""
        for name, value in QUIET.items():  # before anybody imports MLflow
            os.environ.setdefault(name, value)
        self.problem, self.accept, self.trusted = problem, settings.accept, settings.trusted
        self._settings, self._clock = settings, clock
        self._audit = settings.var / "ledger" / "audit" / "0"

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's client."""
        return client_at(self._settings.tracking)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only one who writes; what another left unfinished is finished first."""
        path = self._audit.parent / "lock"
        lock = FileLock(path, poll_interval=0.01)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def experiment(self) -> str:
        """Find the problem's experiment, or make it."""
        return experiment_of(self.client, self.problem, self._settings.tracking)

    def create(self, run: str, tags: dict[str, str]) -> Version:
        """Make a version of the bundle that a run holds; only inside of `lock`."""
        try:
            self.client.create_registered_model(self.problem)
        except TrackerError as exc:
            if getattr(exc.__cause__, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self.client.get_run(run).info.artifact_uri}/{FOLDER}"
        return Version.read(self.client.create_model_version(self.problem, source, run, tags))

    def committed(self, version: Version, commit: str) -> Version:
        """Say of a version that a commit holds by now what it was made of; only inside of `lock`."""
        self.record("commit", digest=version.digest, version=version.version, commit=commit)
        for name, value in ((COMMIT, commit), (DIRTY, "false")):
            self.client.set_tag(version.run, name, value)
        for name, value in ((COMMIT, commit), (DIRTY, "no")):  # the last one says that all is done
            self.client.set_model_version_tag(self.problem, str(version.version), name, value)
        return version.model_copy(update={"commit": commit, "dirty": False})

    def propose(self, version: Version, proposal: dict[str, Any]) -> None:
        """Write beside a version what it should be, and why."""
        self.client.set_model_version_tag(self.problem, str(version.version), PROPOSAL, json.dumps(proposal))

    def fetch(self, version: Version, target: Path) -> Bundle:
        """Lay out a version's bundle.

        Raises:
            BundleError: what the registry holds is not the bundle that it says it is.
            RegistryError: it cannot be had.

        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=".") as folder:
            self.download(version, Path(folder))
            try:
                found = Bundle.open(Path(folder) / FOLDER)
            except (BundleError, MissingError) as exc:
                told = str(exc).replace(f"{folder}/", "")  # the same at each try
                way = f"`tandem publish` or `tandem import` of {version.digest[:12]} writes it again"
                msg = f"what the registry holds of version {version.version} is damaged: {told}. {way}"
                raise BundleError(msg) from exc
            if found.digest != version.digest:
                msg = f"version {version.version} should be {version.digest}, but the registry holds {found.digest}"
                raise BundleError(msg)
            shutil.rmtree(target, ignore_errors=True)
            found.folder.rename(target)
        return Bundle.open(target)

    def download(self, version: Version, target: Path) -> None:
        """Copy what a version's run holds as its bundle, if it is not too large; it may be damaged."""
        self._check_sizes(version.run, FOLDER)
        self.client.download_artifacts(version.run, FOLDER, str(target))

    def _check_sizes(self, run: str, path: str) -> None:
        waiting, total = [path], 0
        while waiting:
            for each in self.client.list_artifacts(run, waiting.pop()):
                waiting += [each.path] if each.is_dir else []
                total += each.file_size or 0
                if total > LARGEST or len(waiting) > MOST_FILES or each.path.count("/") > DEEPEST:
                    msg = f"{path} is larger than a bundle may be, {LARGEST >> 20} MiB, or deeper"
                    raise BundleError(msg)

    def attestations(self, version: Version) -> list[bytes]:
        """Give the envelopes that stand beside a version's bundle, each by its name; none was checked."""
        with TemporaryDirectory(prefix="tandem-") as folder:
            found = self.client.list_artifacts(version.run, ATTESTATIONS)
            paths = sorted(each.path for each in found if (each.file_size or 0) <= LARGEST_ENVELOPE)
            return [Path(self.client.download_artifacts(version.run, path, folder)).read_bytes() for path in paths]

    def attest(self, version: Version, kind: str, envelope: bytes, reason: str) -> None:
        """Put an envelope beside a version's bundle, once; the tag says for people which kinds there are."""
        with self.lock(), TemporaryDirectory(prefix="tandem-") as folder:
            there = self.attestations(version)
            path = Path(folder) / f"{kind}-{name_of(envelope)}.json"
            path.write_bytes(envelope)
            if envelope not in there:
                self.client.log_artifact(version.run, str(path), ATTESTATIONS)
            names = [Path(each.path).name for each in self.client.list_artifacts(version.run, ATTESTATIONS)]
            kinds = ", ".join(sorted({name.split("-")[0] for name in names}))
            self.client.set_model_version_tag(self.problem, str(version.version), ATTESTED, kinds)
            said = {"digest": version.digest, "as": kind, "envelope": name_of(envelope), "key": key_of(envelope)}
            known = [event.get("envelope") for event in self.events() if event.get("digest") == version.digest]
            if said["envelope"] not in known:
                self.record("attest", reason=reason, **said)

    def refuse(self, digest: str | None, reason: str) -> None:
        """Tell the audit that a bundle is not served, and why; once."""
        with self.lock():
            if (digest, reason) not in {(event.get("digest"), event.get("reason")) for event in self.refused()}:
                self.record("refused", digest=digest, reason=reason)

    def refused(self) -> list[dict[str, Any]]:
        """List what was refused."""
        return [event for event in self.events() if event["event"] == "refused"]

    def versions(self) -> list[Version]:
        """List all versions, oldest first."""
        found = self.client.search_model_versions(f"name = '{self.problem}'", max_results=10_000)
        return sorted((Version.read(each) for each in found if DIGEST in each.tags), key=lambda v: v.version)

    def find(self, ref: str) -> Version:
        """Find a version by its number, its alias, or its digest or the beginning of it.

        Raises:
            MissingError: there is none, or more than one.

        """
        versions, digest = self.versions(), getattr(self.state(), ref, None) if ref in ROLES else ref
        found = [v for v in versions if digest and _means(v, digest)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{v.version} ({v.digest[:12]})" for v in versions[-5:]) or "none: `tandem publish` makes one"
        msg = f"{'several versions begin with' if found else 'there is no version'} {ref!r}; there are {known}"
        raise MissingError(msg)

    def events(self) -> list[dict[str, Any]]:
        """List all audit events of this problem, oldest first."""
        return [event for event in ledger.rows(self._audit) if event["problem"] == self.problem]

    def state(self) -> State:
        """Tell which bundles take traffic."""
        return next((State(**event["state"]) for event in reversed(self.events()) if "state" in event), State())

    def record(self, event: str, **said: Any) -> None:  # noqa: ANN401 - whatever JSON holds
        """Add an event to the audit; only inside of `lock`."""
        with ledger.Segment(self._audit, durable=True) as audit:
            row = {
                "number": audit.rows + 1,
                "event": event,
                "problem": self.problem,
                "world": self._clock.now().isoformat(),
                "wall": wall_now().isoformat(),
                "by": actor(),
            }
            audit.append(row | said)

    def change(self, event: str, before: State, after: State, reason: str, **said: Any) -> State:  # noqa: ANN401
        """Go from one state to the next; the only way to.

        Raises:
            ConflictError: the state is no longer the one that was decided on.

        """
        with self.lock():
            now = self.state()
            if now.generation != before.generation:
                msg = f"generation {before.generation} is over: {self._last_change()}. Look again, and decide again"
                raise ConflictError(msg)
            after = after.model_copy(update={"generation": now.generation + 1})
            self.record(event, reason=reason, before=now.model_dump(), state=after.model_dump(), **said)
            self.show(after)
        return after

    def last_change(self) -> dict[str, Any]:
        """Give the event that made the state."""
        return next(event for event in reversed(self.events()) if "state" in event)

    def mark(self) -> object:
        """Give what changes when anything is said."""
        try:
            found = self._audit.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size

    def _last_change(self) -> str:
        last = self.last_change()
        return f"{last['by']} made {str(last['state']['champion'])[:12]} champion or kept it, because: {last['reason']}"

    def show(self, state: State) -> None:
        """Show a state in MLflow: the tag is the whole of it, aliases are for people."""
        numbers = {version.digest: version.version for version in self.versions()}
        for role in ROLES:
            digest = getattr(state, role)
            if digest in numbers:
                self.client.set_registered_model_alias(self.problem, role, str(numbers[digest]))
            else:
                self.client.delete_registered_model_alias(self.problem, role)
        self.client.set_registered_model_tag(self.problem, STATE, json.dumps(state.model_dump()))

    def settle(self) -> State:
        """Show the state, where MLflow shows another one: after a crash, or after somebody changed it there.

        Raises:
            MissingError: MLflow has nothing of what the audit tells of.
            RegistryError: MLflow has shown a later one than the audit tells of, so the audit has lost its end.

        """
        with self.lock():
            state = self.state()
            shown, aliases = self._shown()
            if shown.generation > state.generation:
                ends = f"MLflow shows generation {shown.generation}, but {self._audit} ends with {state.generation}"
                way = f"restore it; if it is lost, delete the tag {STATE} of model {self.problem} in MLflow"
                msg = f"{ends}: {way}, and promote anew"
                raise RegistryError(msg)
            if state.generation and (shown != state or aliases != {role: getattr(state, role) for role in ROLES}):
                self.show(state)
        return state

    def _shown(self) -> tuple[State, dict[Role, str | None]]:
        """Give the state that MLflow shows, and whom it shows in which role."""
        found = self.client.search_registered_models(f"name = '{self.problem}'")
        if not found and self.state().generation:
            msg = (
                f"MLflow holds nothing of {self.problem}, of which {self._audit} tells: restore it, or `tandem publish`"
            )
            raise MissingError(msg)
        if not found:
            return State(), {}
        numbers = {str(version.version): version.digest for version in self.versions()}
        aliases = {role: numbers.get(str(found[0].aliases.get(role))) for role in ROLES}
        return State.model_validate_json(found[0].tags.get(STATE, "{}")), aliases


def events_about(registry: Registry, digest: str) -> list[dict[str, Any]]:
    """List what was said about a bundle, oldest first."""
    return [event for event in registry.events() if digest in _named(event)]


def _named(event: dict[str, Any]) -> set[Any]:
    """Name the bundles that an event is about."""
    return {event.get("digest"), *event.get("before", {}).values(), *event.get("state", {}).values()}


def _means(version: Version, ref: str) -> bool:
    return ref == str(version.version) or (len(ref) >= SHORTEST and version.digest.startswith(ref))


def champions(events: Sequence[dict[str, Any]]) -> list[str]:
    """List the champions that a rollback goes back through: each promotion adds one, each rollback takes one.

    Where nobody is champion, "" stands at the end, until somebody is.
    """
    line: list[str] = []
    for event in events:
        if "state" not in event:
            continue
        champion = event["state"]["champion"] or ""
        if event["event"] == "rollback" or line[-1:] == [""]:
            line = line[:-1]
        if event["event"] != "rollback" and line[-1:] != [champion] and (line or champion):
            line.append(champion)
    return line
