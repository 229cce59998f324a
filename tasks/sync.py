"""What the registry says, made ready to be served: laid out, checked, rehearsed, and coherent as a whole."""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from tandem.bundle import Bundle
from tandem.errors import (
    AttestationError,
    BundleError,
    MissingError,
    RefusedError,
    SnapshotError,
    TrafficError,
)
from tandem.files import write_text
from tandem.registry import Registry, Role, State
from tandem.run import step, step_outside
from tandem.serving.rehearsal import rehearse
from tandem.serving.synced import SYNCED, Synced
from tandem.serving.traffic import BUNDLES, TRAFFIC, Traffic
from tandem.settings import Settings
from tasks.attest import check_policy

if TYPE_CHECKING:
    from tandem.snapshots import Snapshot

KEPT = 3
"""Bundles that take no traffic and stay, for who goes back."""
_LOG = logging.getLogger(__name__)


@step_outside
def lay_out(registry: Registry, digest: str, settings: Settings) -> Bundle:
    """Give a bundle's folder, checked; what is not there is fetched and rehearsed, and stands there at once or not.

    Raises:
        RefusedError: the registry does not hold it whole, or it does not answer as it promises.

    """
    folder = settings.serving / BUNDLES / digest
    if there := _whole(folder, digest):
        return there
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".") as temporary:
        try:
            bundle = registry.fetch(registry.find(digest), Path(temporary) / "bundle")
            rehearse(bundle, settings.rehearsal_seconds, settings.rehearsal_mib)
        except (BundleError, MissingError) as exc:
            raise RefusedError(digest, str(exc)) from exc
        if folder.is_symlink() or folder.exists():
            folder.rename(Path(temporary) / "damaged")
        bundle.folder.rename(folder)
    _LOG.info("bundle %s is laid out", digest[:12])
    return Bundle.open(folder)


def _whole(folder: Path, digest: str) -> Bundle | None:
    """Open what is laid out, if it is still what it was."""
    try:
        found = Bundle.open(folder)
    except (BundleError, MissingError) as exc:
        if folder.exists():
            _LOG.warning("fetched again: %s", exc)
        return None
    return found if found.digest == digest and not folder.is_symlink() else None


@step
def check_coherent(bundles: Mapping[Role, Bundle], sticky_by: tuple[str, ...], snapshots: Path) -> None:
    """Check that all of a state can answer the same requests, from the snapshot that is there.

    Raises:
        RefusedError: one cannot, with its digest.

    """
    champion, newest = bundles["champion"], _newest(snapshots)
    if unknown := [name for name in sticky_by if name not in champion.json("contract.json")["properties"]]:
        raise RefusedError(champion.digest, f"its requests have no {', '.join(unknown)}, by which traffic is shared")
    for bundle in bundles.values():
        if bundle.files["contract.json"] != champion.files["contract.json"]:
            raise RefusedError(bundle.digest, f"it takes other requests than the champion {champion.digest[:12]} does")
        if bundle.spec.grid != champion.spec.grid:
            raise RefusedError(bundle.digest, f"it has other ticks than the champion {champion.digest[:12]}")
        try:
            if newest:
                newest.fits(bundle.spec)
        except SnapshotError as exc:
            raise RefusedError(
                bundle.digest, f"{exc}: `tandem refresh` writes one that does, once there is a tick"
            ) from exc


def _newest(folder: Path) -> "Snapshot | None":
    """Open the newest snapshot that is whole."""
    from tandem.snapshots import Named, Snapshot  # noqa: PLC0415 - numpy, 0.15 s, and mostly nothing is new

    for named in reversed(Named.all(folder)):
        try:
            return Snapshot.open(named.path)
        except SnapshotError as exc:
            _LOG.warning("a snapshot is left out: %s", exc)
    return None


@step_outside
def check_attested(registry: Registry, bundles: Mapping[Role, Bundle]) -> None:
    """Check that what policy demands was said of each.

    Raises:
        RefusedError: it was not.

    """
    for role, bundle in bundles.items():
        try:
            check_policy(registry, bundle.digest, role)
        except AttestationError as exc:
            raise RefusedError(bundle.digest, str(exc)) from exc


@step
def traffic_of(state: State, champion: Bundle, event: Mapping[str, Any], sticky_by: tuple[str, ...]) -> Traffic:
    """Say for serving what the registry says; the salt is the challenger's, so that each is tried on other keys."""
    return Traffic(
        champion=champion.digest,
        generation=state.generation,
        challenger=state.challenger,
        share=state.share,
        shadow=state.shadow,
        key=sticky_by or champion.spec.keys,
        salt=(state.challenger or "")[:32],
        reason=str(event["reason"]),
        by=str(event["by"]),
    )


def traffic_now(serving: Path) -> Traffic | None:
    """Read what is served; what cannot be read is written anew."""
    try:
        return Traffic.load(serving / TRAFFIC)
    except TrafficError as exc:
        _LOG.warning("written anew: %s", exc)
        return None


@step
def write_traffic(serving: Path, traffic: Traffic) -> None:
    """Let it be served, in one step."""
    write_text(serving / TRAFFIC, f"{msgspec.json.format(msgspec.json.encode(traffic), indent=1).decode()}\n")


@step
def write_synced(serving: Path, synced: Synced) -> Synced:
    """Leave for the metrics how far it has come."""
    write_text(serving / SYNCED, msgspec.json.encode(synced).decode() + "\n")
    return synced


@step
def prune(serving: Path, served: Traffic | None) -> None:
    """Delete all bundles but those that take traffic and the last few that did, and what a kill left half-made."""
    named = set(served.digests.values()) if served else set()
    folder = serving / BUNDLES
    there = list(folder.iterdir()) if folder.is_dir() else []
    for path in there:
        if path.name in named:
            os.utime(path)
    rest = sorted((path for path in there if path.name not in named), key=lambda path: path.lstat().st_mtime)
    half = [path for path in rest if path.name.startswith(".")]
    for path in half + [path for path in rest if path not in half][:-KEPT]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
