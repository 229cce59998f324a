"""Change what takes traffic: the only way to, each change with a reason and an audit event."""

from tandem.errors import RegistryError
from tandem.registry import Registry, Role, State, champions
from tandem.run import operation
from tasks.attest import check_policy
from tasks.promote import promoted, reasoned, withdrawn


@operation
def promote(registry: Registry, ref: str, role: Role, share: float | None, reason: str) -> State:
    """Give a version a role; `none` takes the role from whoever has it."""
    reason, before = reasoned(reason), registry.settle()
    if ref == "none":
        return registry.change("withdraw", before, withdrawn(before, role, share), reason, role=role)
    version = registry.find(ref)
    after = promoted(before, version, role, share)
    check_policy(registry, version.digest, role)
    return registry.change("promote", before, after, reason, role=role, digest=version.digest)


@operation
def rollback(registry: Registry, reason: str) -> State:
    """Make the champion before this one champion again."""
    reason, before = reasoned(reason), registry.settle()
    line = champions(registry.events())
    if len(line) < 2:  # noqa: PLR2004
        msg = "there was no champion before this one"
        raise RegistryError(msg)
    version = registry.find(line[-2])
    after = promoted(before, version, "champion", None)
    check_policy(registry, version.digest, "champion")
    return registry.change("rollback", before, after, reason, role="champion", digest=version.digest)
