"""What runs in workspaces, asked of the Docker engine."""

import gc
import io
import tarfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from tandem.errors import AccessError, MissingError
from tandem.files import write_text
from tandem.workspace import READERS, Place

NAMED = "tandem.workspace"
"""The label by which the containers of a workspace are known."""
OWN_AUTHORITY = "/srv/gateway/caddy/pki/authorities/local/root.crt"
LANDING = "/srv/tandem/var"
WOKEN = ("train/daily", "refresh/ticks")
"""Deployments of prefect.yaml that take up what has landed."""


def engine() -> Any:  # noqa: ANN401 - docker's, which has no types
    """Open the Docker engine.

    Raises:
        MissingError: there is none.

    """
    import docker  # type: ignore[import-untyped]  # noqa: PLC0415 - 0.2 s

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return docker.from_env()
        except docker.errors.DockerException as exc:
            words = str(exc)
        gc.collect()  # docker leaves the socket open by which it did not get through, and what it raised holds that
    msg = f"no Docker engine answers: {words}. Start it, or name another by DOCKER_HOST"
    raise MissingError(msg)


def standing(name: str | None) -> list[dict[str, str]]:
    """List the containers of one workspace, or of all."""
    label = f"{NAMED}={name}" if name else NAMED
    found = [each.attrs for each in engine().containers.list(all=True, filters={"label": label})]
    return sorted(map(_shown, found), key=lambda each: (each["workspace"], each["container"]))


def lives(place: Place) -> bool:
    """Say whether a workspace has data, be it that it stands or that it is to stand again."""
    name = f"tandem-{place.name}-var"
    return any(each.name == name for each in engine().volumes.list(filters={"name": name}))


def _shown(attrs: dict[str, Any]) -> dict[str, str]:
    state, labels = attrs["State"], attrs["Config"]["Labels"]
    bound = attrs["HostConfig"]["PortBindings"] or {}
    ports = [f"{each['HostIp']}:{each['HostPort']}" for every in bound.values() for each in every]
    return {
        "workspace": labels[NAMED],
        "container": attrs["Name"].removeprefix("/"),
        "state": state["Status"],
        "health": state.get("Health", {}).get("Status", ""),
        "since": state["StartedAt"][:19],
        "revision": labels.get("org.opencontainers.image.revision", "")[:12],
        "published": ", ".join(ports),
    }


@dataclass(frozen=True)
class Taken:
    """What a container takes: memory that the kernel could not have back, and its share of a core."""

    container: str
    mib: float
    core: float


def taken(place: Place, seconds: float) -> list[Taken]:
    """Look at the containers of a workspace for a while."""
    found = engine().containers.list(filters={"label": f"{NAMED}={place.name}"})
    before, began = {each.name: _used(each)[0] for each in found}, monotonic()
    sleep(seconds)
    after, passed = {each.name: _used(each) for each in found}, monotonic() - began
    cores = {name: (used - before[name]) / 1e9 / passed for name, (used, _) in after.items()}
    return [Taken(name, after[name][1] / 2**20, core) for name, core in sorted(cores.items())]


def _used(container: Any) -> tuple[int, int]:  # noqa: ANN401 - docker's
    """Give nanoseconds and bytes; of a control group of either version."""
    said = container.stats(stream=False, one_shot=True)
    memory, files = said["memory_stats"], said["memory_stats"]["stats"]
    idle = files.get("total_inactive_file", files.get("inactive_file", 0))
    return said["cpu_stats"]["cpu_usage"]["total_usage"], memory["usage"] - idle


def end(place: Place) -> None:
    """End all containers at once, in no order: what they might still write goes with the workspace's volumes."""
    found = engine().containers.list(all=True, filters={"label": f"{NAMED}={place.name}"})
    with ThreadPoolExecutor(max_workers=max(1, len(found))) as side_by_side:
        list(side_by_side.map(lambda each: each.remove(force=True), found))


def container(place: Place, service: str) -> Any:  # noqa: ANN401 - docker's
    """Find a container of a workspace.

    Raises:
        MissingError: there is none.

    """
    import docker  # noqa: PLC0415

    try:
        return engine().containers.get(place.container(service))
    except docker.errors.NotFound as exc:
        msg = f"there is no container {place.container(service)}: `make up ENV={place.name}` stands the workspace up"
        raise MissingError(msg) from exc


def reload_gateway(place: Place) -> None:
    """Let the gateway take up who is let in and by which certificate, where that changed.

    Raises:
        AccessError: it goes on with whom it let in before.

    """
    code, said = container(place, "gateway").exec_run(["gate", "again"])
    if code:
        msg = f"{place.container('gateway')} has not taken up who is let in: {said.decode(errors='replace').strip()}"
        raise AccessError(msg)


def authority(place: Place) -> None:
    """Copy the certificate of the gateway's own authority here, for clients, if it has one."""
    gateway = container(place, "gateway")
    code, said = gateway.exec_run(["cat", OWN_AUTHORITY])
    if code or "TLS=internal" not in gateway.attrs["Config"]["Env"]:
        place.authority.unlink(missing_ok=True)
    else:
        write_text(place.authority, said.decode())


def land(place: Place, landing: Path) -> bool:
    """Put what has landed here into the workspace, which may not reach out for it; say whether any is new there."""
    platform = container(place, "platform")
    there = platform.exec_run(["find", f"{LANDING}/{landing.name}", "-type", "f", "-printf", "%f %s\n"]).output.decode()
    new = [path for path in sorted(landing.iterdir()) if f"{path.name} {path.stat().st_size}" not in there.splitlines()]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in [landing, *new]:
            member = archive.gettarinfo(path, path.relative_to(landing.parent).as_posix())
            member.uid = member.gid = READERS["platform"]
            with path.open("rb") if path.is_file() else nullcontext() as file:
                archive.addfile(member, file)
    platform.put_archive(LANDING, packed.getvalue())
    return bool(new)


def wake(place: Place) -> None:
    """Have the worker look at once for what is due: its schedules might come to that in an hour."""
    words = " && ".join(f"prefect deployment run {each}" for each in WOKEN)
    container(place, "worker").exec_run(["bash", "-c", words], detach=True)
