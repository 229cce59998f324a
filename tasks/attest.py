"""What is said about a bundle: its statements, and what policy demands."""

from typing import Any

from tandem.attestations import Kind, Statement, Trust, stamped
from tandem.bundle import Bundle
from tandem.clock import wall_now
from tandem.registry import Registry, Role, Version, actor
from tandem.run import step, step_outside

DEMANDED: tuple[Kind, ...] = ("approval",)
ANSWER: tuple[Role, ...] = ("champion", "challenger")
"""Whose scores are acted on; a shadow's are not."""
BUILD = "urn:tandem:bundle:v1"


@step
def statement(bundle: Bundle, version: Version, kind: Kind, reason: str) -> Statement:
    """Make a statement about a bundle."""
    said = stamped(wall_now(), actor(), reason)
    if kind == "provenance":
        return Statement.about(bundle, kind, _provenance(bundle, version) | said)
    if kind == "verdict":
        evaluation = bundle.json("reports/evaluation.json")
        judged = {name: evaluation[name] for name in ("overall", "gates")}
        return Statement.about(bundle, kind, judged | {"proposal": version.proposal} | said)
    return Statement.about(bundle, kind, said)


def _provenance(bundle: Bundle, version: Version) -> dict[str, Any]:
    """Say what made it, in the words of SLSA's provenance."""
    inputs = bundle.json("inputs.json")
    made_of = {"source.tar": bundle.files["source.tar"].removeprefix("sha256:"), "lock": inputs["environment"]}
    made_of |= {f"landing/{digest}": digest for digests in inputs["landing"].values() for digest in digests}
    commit = [{"name": "commit", "digest": {"gitCommit": version.commit}}] if version.commit != "unknown" else []
    return {
        "buildDefinition": {
            "buildType": BUILD,
            "externalParameters": bundle.json("params.json"),
            "internalParameters": {"as_of": bundle.as_of.isoformat(), "dirty": version.dirty},
            "resolvedDependencies": [
                *commit,
                *({"name": name, "digest": {"sha256": digest}} for name, digest in made_of.items()),
            ],
        },
        "runDetails": {"builder": {"id": BUILD}, "metadata": {"invocationId": version.run}},
    }


@step_outside
def check_policy(registry: Registry, digest: str, role: Role) -> None:
    """Check that what the workspace demands of who answers was said of a bundle.

    Raises:
        AttestationError: it was not, or not by whom it trusts.

    """
    if registry.accept == "attested" and role in ANSWER:
        said = registry.attestations(registry.find(digest))
        Trust(registry.trusted).demand(said, digest, DEMANDED)
