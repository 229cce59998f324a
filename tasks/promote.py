"""Who takes traffic next: pure decisions, from one state to the next."""

from pydantic import ValidationError

from tandem.errors import RegistryError
from tandem.registry import ROLES, Role, State, Version


def promoted(state: State, version: Version, role: Role, share: float | None) -> State:
    """Give a version a role; whatever it was before, it is no more.

    A new champion ends the share of a challenger that it was, and leaves another challenger as it is. A challenger
    keeps its share unless another is given, and a new one begins without.

    Raises:
        RegistryError: the version may not have the role, or the state would not make sense.

    """
    if role == "champion" and version.dirty:
        msg = f"version {version.version} was made of code that no commit holds: commit, `tandem run`, publish again"
        raise RegistryError(msg)
    if share is not None and role != "challenger":
        msg = f"a share is a challenger's; {role} has none"
        raise RegistryError(msg)
    if role != "champion" and version.digest == state.champion:
        msg = f"version {version.version} is the champion: make another one champion first"
        raise RegistryError(msg)
    cleared = [name for name in ROLES if getattr(state, name) == version.digest and name != role]
    changed: dict[str, object] = {**dict.fromkeys(cleared), role: version.digest}
    if role == "challenger":
        kept = state.share if state.challenger == version.digest else 0.0
        changed["share"] = kept if share is None else share
    elif "challenger" in cleared:
        changed["share"] = 0.0
    return coherent(state, changed)


def withdrawn(state: State, role: Role, share: float | None = None) -> State:
    """Take a role from whoever has it.

    Raises:
        RegistryError: nobody has it, or it cannot be left empty; or a share is given, which nobody would have.

    """
    if share is not None:
        msg = "a share is a challenger's; who has no role has none"
        raise RegistryError(msg)
    if getattr(state, role) is None:
        msg = f"there is no {role}"
        raise RegistryError(msg)
    changed: dict[str, object] = {role: None}
    if role == "challenger":
        changed["share"] = 0.0
    return coherent(state, changed)


def reasoned(reason: str) -> str:
    """Give a reason, if it is one.

    Raises:
        RegistryError: it says nothing.

    """
    if not reason.strip():
        msg = "say why: the reason is kept, and it is empty"
        raise RegistryError(msg)
    return reason.strip()


def coherent(state: State, changed: dict[str, object]) -> State:
    """Change a state, if what comes out makes sense.

    Raises:
        RegistryError: it does not, or it is the same.

    """
    try:
        after = State.model_validate(state.model_dump() | changed)
    except ValidationError as exc:
        msg = str(exc.errors()[0]["msg"]).removeprefix("Value error, ")
        raise RegistryError(msg) from exc
    if after == state:
        msg = "nothing would change"
        raise RegistryError(msg)
    return after
