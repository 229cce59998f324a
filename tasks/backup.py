"""All that a workspace holds as one archive, and a workspace made of it."""

import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tandem.clock import wall_now
from tandem.errors import ArchiveError, MissingError
from tandem.files import atomic, sha256_of, write_json
from tandem.tarball import unpack
from tandem.workspace import Place
from tasks.containers import engine

HELD: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "postgres": ("/srv/postgres", {"postgres": ""}),
    "mlflow": ("/srv/artifacts", {"artifacts": ""}),
    "worker": ("/srv/tandem", {"work": "", "var": "/var", "serving": "/var/serving", "ledger": "/var/ledger"}),
}
"""By the container that has it: a folder, and the volumes that are mounted at it and below."""
WRITERS = ("worker", "platform", "prefect", "mlflow", "postgres")
"""In the order in which they are stopped."""
PARTS = tuple(f"{service}.tar" for service in HELD)
MANIFEST = "manifest.json"


def back_up(place: Place, target: Path) -> Path:
    """Write the archive, while nothing but serving goes on, whose ledger is whole at any moment."""
    with TemporaryDirectory(dir=target.parent, prefix=".backup-") as name, _stopped(place) as containers:
        folder = Path(name)
        for service, (path, _) in HELD.items():
            chunks, _ = containers[service].get_archive(path)
            with (folder / f"{service}.tar").open("wb") as file:
                file.writelines(chunks)
        parts = {part: sha256_of(folder / part) for part in PARTS}
        images = {service: each.image.id for service, each in containers.items()}
        write_json(
            folder / MANIFEST, {"of": place.name, "at": wall_now().isoformat(), "images": images, "parts": parts}
        )
        with atomic(target) as temporary, tarfile.open(temporary, "w") as archive:
            for each in (folder / MANIFEST, *(folder / part for part in PARTS)):
                archive.add(each, each.name)
    target.chmod(0o600)
    return target


def bring_back(place: Place, source: Path) -> dict[str, Any]:
    """Fill the volumes of a workspace that does not stand with what an archive holds; give its manifest.

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
        for service in HELD:
            _fill(place, service, manifest["images"][service], folder / f"{service}.tar")
    return manifest


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


def _fill(place: Place, service: str, image: str, part: Path) -> None:
    """Unpack into the volumes of a service, by a container that is never started."""
    path, volumes = HELD[service]
    bound = {f"tandem-{place.name}-{volume}": {"bind": path + below} for volume, below in volumes.items()}
    filling = engine().containers.create(image, volumes=bound)
    try:
        with part.open("rb") as file:
            filling.put_archive(str(Path(path).parent), file)
    finally:
        filling.remove()


@contextmanager
def _stopped(place: Place) -> Iterator[dict[str, Any]]:
    """Stop whoever writes, and start them again whatever happens."""
    containers = {service: engine().containers.get(place.container(service)) for service in WRITERS}
    try:
        for each in containers.values():
            each.stop()
        yield containers
    finally:
        for each in reversed(containers.values()):
            each.start()
