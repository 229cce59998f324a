"""All that a workspace holds as one archive, and a workspace made of it."""

import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tandem.clock import wall_now
from tandem.errors import MissingError
from tandem.files import atomic, sha256_of, write_json
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
MANIFEST = "manifest.json"


def back_up(place: Place, target: Path) -> Path:
    """Write the archive, while nothing but serving goes on, whose ledger is whole at any moment."""
    with TemporaryDirectory(dir=target.parent, prefix=".backup-") as name, _stopped(place) as containers:
        folder = Path(name)
        for service, (path, _) in HELD.items():
            chunks, _ = containers[service].get_archive(path)
            with (folder / f"{service}.tar").open("wb") as file:
                file.writelines(chunks)
        parts = {each.name: sha256_of(each) for each in sorted(folder.iterdir())}
        images = {service: each.image.id for service, each in containers.items()}
        write_json(
            folder / MANIFEST, {"of": place.name, "at": wall_now().isoformat(), "images": images, "parts": parts}
        )
        with atomic(target) as temporary, tarfile.open(temporary, "w") as archive:
            for each in (folder / MANIFEST, *(folder / part for part in parts)):
                archive.add(each, each.name)
    target.chmod(0o600)
    return target


def bring_back(place: Place, source: Path) -> dict[str, Any]:
    """Fill the volumes of a workspace that does not stand with what an archive holds; give its manifest.

    Raises:
        MissingError: the archive is damaged, or there is such a workspace.

    """
    if engine().volumes.list(filters={"name": f"tandem-{place.name}-"}):
        msg = f"workspace {place.name} has volumes: `make down ENV={place.name}` takes them away"
        raise MissingError(msg)
    with TemporaryDirectory(dir=source.parent, prefix=".restore-") as name:
        folder = Path(name)
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        for part, digest in manifest["parts"].items():
            if sha256_of(folder / part) != digest:
                msg = f"{source} is damaged: {part} is not what its manifest says"
                raise MissingError(msg)
        for service in HELD:
            _fill(place, service, manifest["images"][service], folder / f"{service}.tar")
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
