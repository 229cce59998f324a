"""Terraform, told which workspace is meant; what it says is passed through."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tandem.errors import MissingError
from tandem.files import sha256_of, write_json
from tandem.origin import COMMIT
from tandem.workspace import IMAGES, LOCKED, TERRAFORM, Place

HELD = ("infra/docker", "flows", "tasks", "tandem", "problems", "data/sources.lock", ".dvc/config", ".dvcignore")
ELSEWHERE = TERRAFORM / "backend_override.tf"
"""Names a backend other than a file."""
FILES = (".dockerignore", "*.yaml", "*.lock", "pyproject.toml", "README.md")


def terraform(place: Place, verb: str, *words: str, first: Callable[[], object] = lambda: None) -> int:
    """Run a verb on a workspace, with its variables and the locked images; give Terraform's exit code.

    What is to be done first is done once Terraform has shown that it can begin.
    """
    place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    variables = [f"-var-file={place.variables()}", f"-var-file={place.locked}"]
    # a file by default; elsewhere the state is, where there is such a file, in the place that it names
    where = [] if ELSEWHERE.exists() else [f"-backend-config=workspace_dir={place.folder.parent}"]
    environment = _environment(place)
    unnamed = {name: value for name, value in environment.items() if name != "TF_WORKSPACE"}  # there may be none yet
    code = _run(TERRAFORM, unnamed, "init", "-input=false", *where)
    if code := code or _run(TERRAFORM, unnamed, "workspace", "select", "-or-create=true", place.name):
        return code
    first()
    return _run(TERRAFORM, environment, verb, "-input=false", *variables, *words, quiet=False)


def knows(place: Place) -> bool:
    """Say whether the state that is Terraform's here tells of anything of a workspace.

    Raises:
        MissingError: it was damaged.

    """
    if ELSEWHERE.exists():
        return bool(_told(TERRAFORM, _environment(place), "state", "list", out=subprocess.PIPE).stdout.strip())
    state = place.folder / "terraform.tfstate"
    try:
        return state.is_file() and bool(json.loads(state.read_text())["resources"])
    except (ValueError, LookupError) as exc:
        msg = f"{state} was damaged: see docs/operations.md, State"
        raise MissingError(msg) from exc


def outputs(place: Place) -> dict[str, Any]:
    """Read what an applied workspace says of itself."""
    return _outputs(TERRAFORM, _environment(place))


def build_images(place: Place, base: str | None) -> Path:
    """Build what has changed since the last time, and write all digests down.

    Raises:
        MissingError: they could not be built, and the reason stands above.

    """
    given = {"base": base, "release": _release(), "content": _content()}
    given |= {"revision": _revision(), "servers": _revision("infra/docker")}
    given |= {"ca": os.environ.get("SSL_CERT_FILE"), "index": os.environ.get("UV_DEFAULT_INDEX")}
    state = (place.folder.parent / "images.tfstate").absolute()
    state.parent.mkdir(parents=True, exist_ok=True)
    environment = {"TF_DATA_DIR": str(state.with_suffix(".terraform"))}
    environment |= {f"TF_VAR_{name}": value for name, value in given.items() if value}
    done = _run(IMAGES, environment, "init", "-input=false", f"-backend-config=path={state}") or _run(
        IMAGES, environment, "apply", "-input=false", "-auto-approve", quiet=False
    )
    if done:
        msg = f"terraform ended with {done}: its own words stand above"
        raise MissingError(msg)
    return write_json(state.with_name(LOCKED), {"images": _outputs(IMAGES, environment)["images"]})


def _environment(place: Place) -> dict[str, str]:
    return {
        "TF_WORKSPACE": place.name,
        "TF_DATA_DIR": str(place.folder / "terraform"),
        "TF_VAR_secrets": str(place.secrets),
    }


def _run(folder: Path, environment: Mapping[str, str], *words: str, quiet: bool = True) -> int:
    return _told(folder, environment, *words, out=subprocess.PIPE if quiet else None).returncode


def _outputs(folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    said = _told(folder, environment, "output", "-json", out=subprocess.PIPE)
    if said.returncode:
        msg = f"terraform ended with {said.returncode}: its own words stand above"
        raise MissingError(msg)
    return {name: each["value"] for name, each in json.loads(said.stdout).items()}


def _told(
    folder: Path, environment: Mapping[str, str], *words: str, out: int | None
) -> "subprocess.CompletedProcess[str]":
    if not (own := shutil.which("terraform")):
        msg = "terraform is not installed, and workspaces need it: https://developer.hashicorp.com/terraform/install"
        raise MissingError(msg)
    whole = {"TF_VAR_docker_host": os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")}
    whole |= {name: value for name, value in os.environ.items() if name != "TF_WORKSPACE"}
    whole |= {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", **environment}
    command = [own, f"-chdir={folder}", *words]
    with (
        subprocess.Popen(command, env=whole, stdout=out, text=True, process_group=0) as running,  # noqa: S603 - our words
        _passed_on(running),
    ):
        said, _ = running.communicate()
    return subprocess.CompletedProcess(command, running.returncode, said)


@contextmanager
def _passed_on(running: "subprocess.Popen[str]") -> Iterator[None]:
    """Where this is told to end tell Terraform so, once, and wait: what it began is in no state before it has ended."""
    told: list[int] = []

    def tell(sent: int, _: FrameType | None) -> None:
        if not told:
            running.send_signal(signal.SIGINT)
        told.append(sent)

    before = {each: signal.signal(each, tell) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] == signal.SIG_IGN:  # as `nohup` has it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if told:
        sys.exit(128 + told[0])


def _revision(*paths: str) -> str:
    """Name the commit that images are made of: the last one, or the last that changed some paths."""
    commit = _git("log", "-1", "--format=%H", "--", *paths)
    dirty = "-dirty" if _git("status", "--porcelain", "--untracked-files=no", "--", *paths) else ""
    return f"{commit}{dirty}" if commit else os.environ.get(COMMIT, "unknown")


def _git(*words: str) -> str:
    git = ["git", *words]
    return subprocess.run(git, check=False, capture_output=True, text=True).stdout.strip()  # noqa: S603 - our words


def _release() -> str:
    version: str = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
    return version


def _content() -> str:
    """Digest all that goes into images."""
    paths: Sequence[Path] = [path for name in FILES for path in Path().glob(name)]
    below = [path for name in HELD for path in ([Path(name)] if Path(name).is_file() else Path(name).rglob("*"))]
    held = sorted({path for path in (*paths, *below) if path.is_file() and path.suffix != ".pyc"})
    lines = [f"{path.as_posix()} {path.stat().st_mode:o} {sha256_of(path)}\n" for path in held]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
