"""Every failure a caller may want to tell apart; an entry point prints the message and exits with the code.

TandemError
├── ParamsError          params.yaml, dvc.yaml, the environment or the clock is missing, malformed or has an unknown key
├── ProblemError         a problem's files do not fit together
│   └── ExpressionError  a request feature uses what cannot be computed online
├── SourceError          a landed or pinned file is not what it should be
│   ├── UnreachableError it cannot be had just now; it may be, later
│   └── RowError         a row of a table of requests is no request
├── UnwritableError      the disk is full, or nothing may be written there
├── MissingError         what a command reads has not been made yet
├── TooFewRowsError      not enough rows are left to go on
├── GateError            a gate failed, so there is no bundle
├── StageError           a stage of the pipeline failed
├── ArchiveError         an archive is damaged, or holds what it should not
├── BundleError          a bundle is damaged or incomplete
├── SnapshotError        a snapshot is damaged, or is not of the views that are asked for
├── AttestationError     what policy demands was not said of a bundle, or not by whom it trusts
├── AccessError          the keys of a workspace cannot be read, or do not hold what is asked for
├── AddressError         what should be listened on cannot be had
├── TrafficError         traffic.json says what cannot be served
├── RefusedError         what the registry asks for is not served, and what was before goes on
├── LedgerError          a ledger is damaged, or cannot be written
├── QueryError           a query of the ledger cannot be answered
├── SkewError            what was answered is not what offline code makes of it
├── DivergesError        a bundle was built again, and came out another one
├── CannotVerifyError    what is needed to build a bundle again is missing
├── BusyError            another one is doing it in this workspace
├── LateError            what a schedule should have done was not done lately
└── RegistryError        what was asked of the registry cannot be, or would not make sense
    ├── TrackerError     MLflow cannot be reached, or refuses; it may not, later
    └── ConflictError    somebody changed it in the meantime
"""

from collections.abc import Sequence

LONGEST = 60


def brief(value: object) -> str:
    """Show a value in a message; the beginning of a long one is enough."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


class TandemError(Exception):
    """Base class: the only one an entry point catches."""

    exit_code = 1


class ParamsError(TandemError):
    """params.yaml, dvc.yaml, the environment or the clock is missing, malformed or has an unknown key."""


class ProblemError(TandemError):
    """A problem's files do not fit together."""


class ExpressionError(ProblemError):
    """A request feature uses what cannot be computed online as DuckDB computes it."""


class SourceError(TandemError):
    """A landed or pinned file is not what it should be."""


class UnreachableError(SourceError):
    """A pinned file cannot be had just now; it may be, later."""


class RowError(SourceError):
    """A row of a table of requests is no request."""

    def __init__(self, source: str, row: int, field: str, came: object, wanted: str) -> None:
        """Say where, what came and what is wanted."""
        shown = "nothing" if came is None else repr(came) if isinstance(came, str | bool | int | float) else str(came)
        super().__init__(
            f"{source}: row {row}: {field}: expected {wanted}, got {shown[:60]}. Mend it, or leave such rows out "
            f"with --skip, which writes them beside with the rules that they break"
        )
        self.row, self.field, self.wanted = row, field, wanted


class UnwritableError(TandemError):
    """The disk is full, or nothing may be written there."""


class MissingError(TandemError):
    """What a command reads has not been made yet; the message names the command that makes it."""


class TooFewRowsError(TandemError):
    """Not enough rows are left to go on."""

    def __init__(self, what: str, *, got: int, need: int) -> None:
        """Keep both numbers, so that a log line can show them."""
        super().__init__(f"{what}: {got} rows, need at least {need}")
        self.got, self.need = got, need


class GateError(TandemError):
    """A gate failed, so there is no bundle."""

    exit_code = 3


class StageError(TandemError):
    """A stage of the pipeline failed; its own words stand above, unless it could not even begin."""

    def __init__(self, stage: str, code: int, reason: str = "its own words stand above") -> None:
        """Pass on the code that the stage ended with."""
        super().__init__(f"stage {stage} failed, and what depends on it was not run: {reason}")
        self.stage, self.exit_code, self.reason = stage, code, reason


class ArchiveError(TandemError):
    """An archive is damaged, or holds what it should not."""


class BundleError(TandemError):
    """A bundle is damaged or incomplete."""


class SnapshotError(TandemError):
    """A snapshot is damaged, or is not of the views that are asked for."""


class AttestationError(TandemError):
    """What policy demands was not said of a bundle, or not by whom it trusts."""


class AccessError(TandemError):
    """The keys of a workspace cannot be read, or do not hold what is asked for."""


class AddressError(TandemError):
    """What should be listened on cannot be had."""


class TrafficError(TandemError):
    """traffic.json says what cannot be served."""


class RefusedError(TandemError):
    """What the registry asks for is not served, and what was before goes on."""

    def __init__(self, digest: str | None, reason: str) -> None:
        """Name the bundle because of which it is not, if it is one; a file's name in the reason may be no text."""
        super().__init__(digest, reason)
        self.digest, self.reason = digest, reason.encode(errors="backslashreplace").decode()

    def __str__(self) -> str:
        """Say why."""
        return self.reason


class LedgerError(TandemError):
    """A ledger is damaged, or cannot be written."""


class QueryError(TandemError):
    """A query of the ledger cannot be answered."""


class RegistryError(TandemError):
    """What was asked of the registry cannot be, or would not make sense."""


class TrackerError(RegistryError):
    """MLflow cannot be reached, or refuses what it is asked; it may not, later."""


class ConflictError(RegistryError):
    """Somebody changed it in the meantime."""


class SkewError(TandemError):
    """What was answered is not what offline code makes of it."""

    exit_code = 4

    def __init__(self, differing: int, compared: int) -> None:
        """Count the rows."""
        super().__init__(
            f"{differing} of {compared} rows differ between what was answered and what is computed offline"
        )
        self.differing, self.compared = differing, compared


class DivergesError(TandemError):
    """A bundle was built again, and came out another one."""

    exit_code = 4

    def __init__(self, stage: str, file: str, value: str) -> None:
        """Say where it differs first."""
        super().__init__(f"diverges: {stage} {file} {value}")
        self.stage, self.file, self.value = stage, file, value


class CannotVerifyError(TandemError):
    """What is needed to build a bundle again is missing."""

    exit_code = 5

    def __init__(self, missing: str) -> None:
        """Name what is missing."""
        super().__init__(f"cannot: {missing}")


class BusyError(TandemError):
    """Another one is doing it in this workspace."""

    exit_code = 6

    def __init__(self, what: str) -> None:
        """Say what is being done."""
        super().__init__(f"another {what} is going on in this workspace")
        self.what = what


class LateError(TandemError):
    """What a schedule should have done was not done lately."""

    exit_code = 7

    def __init__(self, flows: Sequence[str], minutes: float) -> None:
        """Name what was not done."""
        super().__init__(f"no {' and no '.join(flows)} ended in the last {minutes:g} minutes")
        self.flows, self.minutes = flows, minutes
