"""Workspaces on a Docker host: stand one up, look at it, take it down."""

from collections.abc import Sequence
from pathlib import Path

from tandem.errors import ConflictError
from tandem.landing import Pins
from tandem.params import Params
from tandem.problem import load_problem
from tandem.schedule import alone
from tandem.settings import Settings
from tandem.workspace import Place
from tasks.backup import back_up, bring_back, clear
from tasks.containers import authority, end, land, lives, reload_gateway, standing, wake
from tasks.landing import landed_files
from tasks.secrets import make_secrets
from tasks.terraform import build_images, knows, terraform

CHANGE = "change"
AT_ONCE = "-parallelism=32"
"""Containers that wait for their health take no processor: all may do so side by side."""


def images(place: Place, base: str | None) -> Path:
    """Build the images that all workspaces run, and write their digests down."""
    return build_images(place, base)


def up(place: Place, params: Params, settings: Settings, given: Sequence[str] = ()) -> int:
    """Stand a workspace up as its variables say, or change what differs; give Terraform's exit code.

    What is pinned is fetched here, as a workspace may not reach out for it.

    Raises:
        BusyError: somebody is changing it, or reads all that it holds.
        ConflictError: it stands, and was stood up from elsewhere.
        SourceError: a pinned file cannot be had.

    """
    landed_files(Pins.load(settings.data / "sources.lock"), load_problem(params.problem), settings.landing)
    with alone(place.folder, CHANGE):
        return _stand_up(place, settings, given)


def _stand_up(place: Place, settings: Settings, given: Sequence[str]) -> int:
    make_secrets(place, lived=place.people.is_dir() and lives(place))
    if code := terraform(place, "apply", "-auto-approve", AT_ONCE, *_variables(given), first=lambda: _check(place)):
        return code
    reload_gateway(place)
    authority(place)
    if land(place, settings.landing):
        wake(place)
    return 0


def plan(place: Place, given: Sequence[str] = ()) -> int:
    """Say what would change; give Terraform's exit code: 0 nothing, 1 an error, 2 something.

    Raises:
        BusyError: somebody is changing it, or reads all that it holds.

    """
    with alone(place.folder, CHANGE):  # or who changes it would find Terraform's lock taken
        return terraform(place, "plan", "-detailed-exitcode", *_variables(given))


def down(place: Place) -> int:
    """Take a workspace away, with all that it holds but its secrets; give Terraform's exit code.

    Raises:
        BusyError: somebody is changing it, or reads all that it holds.
        ConflictError: it was stood up from elsewhere.

    """

    def ended() -> None:
        _check(place)
        end(place)

    with alone(place.folder, CHANGE):
        if code := terraform(place, "destroy", "-auto-approve", AT_ONCE, first=ended):
            return code
        clear(place)
    return 0


def backup(place: Place, target: Path) -> Path:
    """Write all that a workspace holds as one archive; predictions go on meanwhile.

    Raises:
        BusyError: somebody is changing it, or reads all that it holds.

    """
    with alone(place.folder, CHANGE):
        return back_up(place, target)


def restore(place: Place, source: Path, params: Params, settings: Settings, given: Sequence[str] = ()) -> int:
    """Stand a workspace up with what another one held; give Terraform's exit code.

    Raises:
        BusyError: somebody is changing it.

    """
    landed_files(Pins.load(settings.data / "sources.lock"), load_problem(params.problem), settings.landing)
    with alone(place.folder, CHANGE):
        make_secrets(place)
        bring_back(place, source)
        return _stand_up(place, settings, given)


def status(place: Place | None) -> list[dict[str, str]]:
    """List what runs where."""
    return standing(place.name if place else None)


def _check(place: Place) -> None:
    """Keep away from what was stood up from elsewhere: the engine gives a volume to whoever asks for its name."""
    if standing(place.name) and not knows(place):
        stands = f"workspace {place.name} stands, but the state in {place.folder} knows nothing of it"
        msg = f"{stands}: go where it was stood up from; if that is lost, see docs/operations.md, State"
        raise ConflictError(msg)


def _variables(given: Sequence[str]) -> list[str]:
    return [f"-var={each}" for each in given]
