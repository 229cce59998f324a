"""What is not answered, and why: problem details by RFC 9457."""

from http import HTTPStatus

import msgspec

Header = tuple[bytes, bytes]
PROBLEM: Header = (b"content-type", b"application/problem+json")
RETRY: Header = (b"retry-after", b"1")
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading a body raises that is no JSON, or nested without end."""


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong with a body."""

    path: str
    """Where, as in `$.instances[0].name`."""
    expected: str
    got: str = ""


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """A request that is not answered."""

    def __init__(self, status: int, detail: str, *headers: Header, faults: list[Fault] | None = None) -> None:
        """Keep what the client is told."""
        super().__init__(detail)
        self.status, self.detail, self.headers, self.faults = status, detail, headers, faults or []

    @classmethod
    def of(cls, *faults: Fault) -> "Refused":
        """Refuse a body for what is wrong with it."""
        first = faults[0]
        told = f"{first.path}: {first.expected}" + (f", got {first.got}" if first.got else "")
        return cls(422, told, faults=list(faults))

    @classmethod
    def by(cls, exc: msgspec.ValidationError) -> "Refused":
        """Refuse a body of another form, as its reader says."""
        expected, _, where = str(exc).partition(" - at ")
        return cls.of(Fault(where.strip("`") or "$", expected))

    def body(self) -> bytes:
        """Write it as the client gets it."""
        said = {"title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail}
        return msgspec.json.encode(said | ({"errors": self.faults} if self.faults else {}))
