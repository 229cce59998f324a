"""Publish a bundle: register it by its digest, hold it against the champion, and propose what it should be."""

from pathlib import Path
from typing import Any

from tandem.bundle import Bundle
from tandem.errors import AttestationError, ConflictError, RegistryError
from tandem.origin import origin_of
from tandem.registry import Registry, State, Version
from tandem.run import operation
from tandem.settings import Settings
from tasks.attest import check_policy
from tasks.promote import promoted
from tasks.publish import compare, register


@operation
def publish(registry: Registry, bundle: Bundle, settings: Settings) -> tuple[Version, dict[str, Any]]:
    """Give the version and what is proposed for it; again, nothing changes."""
    version = register(registry, bundle, origin_of(bundle.folder / "source.tar", Path()))
    state = registry.settle()
    if version.digest == state.champion:
        return version, {"as": None, "reason": "it is the champion"}
    if state.champion is None:
        try:
            return version, _first(registry, version, state, settings)
        except ConflictError:  # another one was the first
            return publish(registry, bundle, settings)
    proposal = version.proposal
    if proposal is None or proposal["champion_digest"] != state.champion:
        champion = registry.find(state.champion)
        rows = settings.of(registry.problem) / "training_set" / "rows.parquet"
        proposal = compare(registry, bundle, champion, rows) | {"champion_digest": state.champion}
        registry.propose(version, proposal)
    return version, proposal


def _first(registry: Registry, version: Version, state: State, settings: Settings) -> dict[str, Any]:
    """Do with the first bundle of a workspace what its policy says."""
    if settings.first_publish != "champion":
        return {"as": "champion", "reason": "the first; by the workspace's policy somebody decides"}
    reason = "the first of this workspace, champion by its policy"
    try:
        after = promoted(state, version, "champion", None)
        check_policy(registry, version.digest, "champion")
    except (RegistryError, AttestationError) as exc:
        return {"as": None, "reason": str(exc)}
    registry.change("promote", state, after, reason, role="champion", digest=version.digest)
    return {"as": None, "reason": reason}
