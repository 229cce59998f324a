"""Serve what the registry says: fetch, check, rehearse, lay out, and change traffic in one step, or leave it."""

from inspect import unwrap
from time import monotonic

from tandem.clock import wall_now
from tandem.errors import RefusedError, TandemError
from tandem.registry import ROLES, Registry, State
from tandem.run import operation
from tandem.schedule import alone
from tandem.serving.synced import Synced
from tandem.serving.traffic import Traffic
from tandem.settings import Settings
from tasks.sync import (
    check_attested,
    check_coherent,
    lay_out,
    prune,
    traffic_now,
    traffic_of,
    write_synced,
    write_traffic,
)

SYNC = "sync"
WAIT = 300.0
"""Seconds for another one to end."""
AGAIN = 30.0
"""Seconds after which a watch looks at all, though the registry has said nothing new."""


@operation
def sync(registry: Registry, settings: Settings) -> Synced:
    """Bring serving up to the registry; what is refused is told once, and what was served before goes on.

    Raises:
        BusyError: another one is at it, for minutes.

    """
    with alone(settings.schedule, SYNC, WAIT):
        state, served, reason = registry.state(), traffic_now(settings.serving), ""
        try:
            if state.generation:
                served = _taken_up(registry, state, served, settings)
        except RefusedError as exc:
            reason = f"bundle {exc.digest[:12]}: {exc.reason}" if exc.digest else exc.reason
            registry.refuse(exc.digest, exc.reason)
        prune(settings.serving, served)
        generation, refused = served.generation if served else 0, len(registry.refused())
        return write_synced(settings.serving, Synced(generation, state.generation, wall_now(), refused, reason))


def _taken_up(registry: Registry, state: State, before: Traffic | None, settings: Settings) -> Traffic:
    """Give the traffic that is served from now on."""
    if state.champion is None:
        raise RefusedError(None, f"generation {state.generation} has no champion: nobody would answer")
    digests = {role: digest for role in ROLES if (digest := getattr(state, role))}
    bundles = {role: lay_out(registry, digest, settings) for role, digest in digests.items()}
    after = traffic_of(state, bundles["champion"], registry.last_change(), settings.sticky_fields)
    if after != before:
        check_attested(registry, bundles)
        check_coherent(bundles, settings.sticky_fields, settings.snapshots)
        write_traffic(settings.serving, after)
    return after


class Watch:
    """Syncs whenever the registry says something new, and now and then in any case."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        """Look at nothing yet."""
        self._registry, self._settings = registry, settings
        self._mark: object = None
        self._due, self._told = 0.0, ""

    def look(self) -> str | None:
        """Sync if it is time to; say what came of it, once."""
        mark = self._registry.mark()
        if mark == self._mark and monotonic() < self._due:
            return None
        said, before = _round(self._registry, self._settings), self._told
        self._mark, self._due, self._told = mark, monotonic() + AGAIN, said
        return said if said != before else None


def _round(registry: Registry, settings: Settings) -> str:
    try:
        synced: Synced = unwrap(sync)(registry, settings)
    except (TandemError, OSError) as exc:
        return f"serving stays as it was: {exc}"
    return synced.line
