"""All that a workspace holds as one archive, and a workspace made of it."""

import io
import json
import logging
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec

from tandem.clock import wall_now
from tandem.errors import ArchiveError, MissingError, UnwritableError
from tandem.files import atomic, sha256_of, write_json
from tandem.serving.access import Keys
from tandem.tarball import unpack
from tandem.workspace import READERS, Place
from tasks.containers import container, engine

log = logging.getLogger(__name__)


class Held(NamedTuple):
    """What a container has of a workspace."""

    image: str
    folder: str
    volumes: Mapping[str, str]
    """Those that are mounted at the folder and below, each by where."""


HELD: Mapping[str, Held] = {
    "postgres": Held("postgres", "/srv/postgres", {"postgres": ""}),
    "mlflow": Held("platform", "/srv/artifacts", {"artifacts": ""}),
    "worker": Held(
        "platform",
        "/srv/tandem",
        {"work": "", "var": "/var", "serving": "/var/serving", "ledger": "/var/ledger"},
    ),
}
"""All that an archive holds, by the container that has it."""
FILLING = "filling"
"""The container by which volumes are filled."""
KEYS = "tandem/var/keys.json"
"""Who may ask, in the worker's part."""
TRIES = 3
"""To start what was stopped: the engine may still be busy with what was read of it."""
WRITERS = ("worker", "platform", "prefect", "mlflow", "postgres")
"""In the order in which they are stopped."""
PARTS = tuple(f"{service}.tar" for service in HELD)
MANIFEST = "manifest.json"


def back_up(place: Place, target: Path) -> Path:
    """Write the archive, while nothing but serving goes on, whose ledger is whole at any moment.

    Raises:
        MissingError: the workspace does not stand.
        UnwritableError: there is not enough room for the archive.

    """
    containers = {service: container(place, service) for service in WRITERS}
    _check_room(place, target.parent)
    with TemporaryDirectory(dir=target.parent, prefix=".backup-") as name:
        folder = Path(name)
        with _stopped(place, containers):
            for service, held in HELD.items():
                chunks, _ = containers[service].get_archive(held.folder)
                with closing(chunks), (folder / f"{service}.tar").open("wb") as file:
                    file.writelines(chunks)
        parts = {part: sha256_of(folder / part) for part in PARTS}
        images = {service: each.image.id for service, each in containers.items()}
        write_json(
            folder / MANIFEST, {"of": place.name, "at": wall_now().isoformat(), "images": images, "parts": parts}
        )
        with atomic(target) as temporary, tarfile.open(temporary, "w") as archive:
            for each in (folder / MANIFEST, *(folder / part for part in PARTS)):
                archive.add(each, each.name)
            temporary.chmod(0o600)
    return target


def _check_room(place: Place, folder: Path) -> None:
    """Look for room before anything is stopped: for the parts, and for the archive that is made of them."""
    names = _volumes(place)
    sizes = [each["UsageData"]["Size"] for each in engine().df()["Volumes"] if each["Name"] in names]
    if (wanted := 2 * sum(sizes)) > (free := shutil.disk_usage(folder).free):
        room = f"{folder} has {free >> 20} MiB of room"
        msg = f"{room}, and a backup of {place.name} takes {wanted >> 20}: free some, or write it elsewhere"
        raise UnwritableError(msg)


def bring_back(place: Place, source: Path) -> dict[str, Any]:
    """Fill the volumes of a workspace that does not stand with what an archive holds; give its manifest.

    Clients are let in as they were; who looks after this workspace, and its Prometheus, by this one's own keys.

    Raises:
        ArchiveError: it is damaged.
        MissingError: there is such a workspace.

    """
    if engine().volumes.list(filters={"name": f"tandem-{place.name}-"}):
        msg = f"workspace {place.name} has volumes: `make down ENV={place.name}` takes them away"
        raise MissingError(msg)
    with TemporaryDirectory(dir=source.parent, prefix=".restore-") as name:
        folder = Path(name)
        manifest = opened(source, folder)
        keys = _keys(folder / "worker.tar", place)
        try:
            _fill(place, folder, keys)
        except BaseException:
            clear(place)
            raise
    return manifest


def _fill(place: Place, parts: Path, keys: bytes) -> None:
    images = place.images()
    for service, held in HELD.items():
        above = str(Path(held.folder).parent)
        with _filling(place, images[held.image], held) as filling, (parts / f"{service}.tar").open("rb") as file:
            filling.put_archive(above, file)
            if service == "worker":
                filling.put_archive(above, keys)


def clear(place: Place) -> None:
    """Take away what a workspace was filled with that is in no state of Terraform's, as of a restore that was ended."""
    for each in engine().containers.list(all=True, filters={"name": f"^{place.container(FILLING)}$"}):
        each.remove(force=True)
    names = _volumes(place)
    for each in engine().volumes.list():
        if each.name in names:
            each.remove()


def _volumes(place: Place) -> set[str]:
    return {f"tandem-{place.name}-{volume}" for held in HELD.values() for volume in held.volumes}


def opened(source: Path, folder: Path) -> dict[str, Any]:
    """Unpack an archive, and give its manifest, which the parts are held against.

    Raises:
        ArchiveError: it is damaged.

    """
    unpack(source, folder)
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        damaged = [part for part in PARTS if sha256_of(folder / part) != manifest["parts"][part]]
    except (OSError, ValueError, LookupError) as exc:
        msg = f"{source} is no backup of a workspace, or was damaged: {exc}"
        raise ArchiveError(msg) from exc
    if damaged:
        msg = f"{source} is damaged: {', '.join(damaged)} is not what its manifest says"
        raise ArchiveError(msg)
    return manifest


def _keys(part: Path, place: Place) -> bytes:
    """Pack the keys that an archive holds, with this workspace's own in the place of those of their names."""
    with tarfile.open(part) as archive:
        found = archive.extractfile(KEYS)
        keys = msgspec.json.decode(found.read(), type=Keys) if found else Keys()
    keys = keys.having("owner", "admin", place.key.read_text().strip())  # one that was rotated ends with a line
    keys = keys.having("prometheus", "viewer", (place.secrets / "prometheus" / "key").read_text().strip())
    said, packed = msgspec.json.encode(keys), io.BytesIO()
    member = tarfile.TarInfo(KEYS)
    member.size, member.mode, member.uid, member.gid = len(said), 0o600, READERS["platform"], READERS["platform"]
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(member, io.BytesIO(said))
    return packed.getvalue()


@contextmanager
def _filling(place: Place, image: str, held: Held) -> Iterator[Any]:
    """Have a container that is never started, to reach into volumes by."""
    volumes = {f"tandem-{place.name}-{volume}": {"bind": held.folder + at} for volume, at in held.volumes.items()}
    filling = engine().containers.create(image, name=place.container(FILLING), volumes=volumes)
    try:
        yield filling
    finally:
        filling.remove()


@contextmanager
def _stopped(place: Place, containers: Mapping[str, Any]) -> Iterator[None]:
    """Stop whoever writes, and start them again whatever happens."""
    begun: list[Any] = []
    try:
        for each in containers.values():
            begun.append(each)
            each.stop()
        yield
    finally:
        if left := [each.name for each in reversed(begun) if not _starts(each)]:
            log.error("%s did not start again: `make up ENV=%s` starts what does not run", ", ".join(left), place.name)


def _starts(stopped: Any) -> bool:  # noqa: ANN401 - docker's
    for _ in range(TRIES):
        try:
            stopped.stop()  # where a signal cut that off the engine goes on, and would stop what was just started
            stopped.start()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the others are to start, too
            log.warning("%s did not start: %s", stopped.name, exc)
        else:
            return True
    return False
