"""A workspace on a Docker host: where what belongs to it lies on this machine, and who may read which secret."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tandem.errors import MissingError

TERRAFORM, IMAGES = Path("infra/terraform"), Path("infra/images")
LOCKED = "images.tfvars.json"
"""The digests of the images, which all workspaces read."""
READERS: Mapping[str, int] = {
    "postgres": 221,
    "mlflow": 220,
    "prefect": 220,
    "platform": 220,
    "trust": 220,
    "gateway": 222,
    "prometheus": 223,
    "alertmanager": 223,
}
"""Who reads which secrets, by the user that runs in the container; infra/docker/Dockerfile makes these users."""


@dataclass(frozen=True)
class Place:
    """A workspace's place on this machine: its state, and its secrets."""

    name: str
    var: Path

    @property
    def folder(self) -> Path:
        """All of it, its owner's alone."""
        return (self.var / "workspaces" / self.name).absolute()

    @property
    def secrets(self) -> Path:
        """Secrets, a folder for each who reads them."""
        return self.folder / "secrets"

    @property
    def people(self) -> Path:
        """Who is let in by the gateway: a file for each, `<role>.<name>`, which holds a password."""
        return self.folder / "people"

    @property
    def key(self) -> Path:
        """A key of role admin, for whoever looks after the workspace."""
        return self.folder / "key"

    @property
    def authority(self) -> Path:
        """The certificate of the gateway's own authority, which clients trust."""
        return self.folder / "ca.crt"

    @property
    def locked(self) -> Path:
        """The images' digests.

        Raises:
            MissingError: none were built.

        """
        path = (self.var / "workspaces" / LOCKED).absolute()
        if not path.is_file():
            msg = f"{path} does not exist: `make images` builds the images, and writes their digests there"
            raise MissingError(msg)
        return path

    def images(self) -> dict[str, str]:
        """Give the images by their digests.

        Raises:
            MissingError: none were built.

        """
        found: dict[str, str] = json.loads(self.locked.read_text())["images"]
        return found

    def container(self, service: str) -> str:
        """Name the container of a service that has one."""
        return f"tandem-{self.name}-{service}"

    def variables(self) -> Path:
        """Name the file of what is particular to this workspace.

        Raises:
            MissingError: there is none.

        """
        known = {each.stem: each.absolute() for each in sorted(TERRAFORM.glob("*.tfvars"))}
        if self.name not in known:
            msg = f"{TERRAFORM / self.name}.tfvars does not exist; there are {', '.join(known)}"
            raise MissingError(msg)
        return known[self.name]
