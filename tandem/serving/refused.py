"""What is not answered, and why: problem details by RFC 9457."""

import re
from http import HTTPStatus

import msgspec

Header = tuple[bytes, bytes]
PROBLEM: Header = (b"content-type", b"application/problem+json")
V2 = "/v2"
"""Where the Open Inference Protocol is spoken, whose clients look for the reason under a name of its own."""
RETRY: Header = (b"retry-after", b"1")
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading a body raises that is no JSON, or nested without end."""
REQUIRED = "a value: the field is required"
FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
KINDS = {"int": "integer", "str": "string", "bool": "boolean", "float": "number", "datetime": "string"}
"""Types as JSON Schema calls them, by the names that msgspec has for them."""
MEANT = {
    "Invalid RFC3339 encoded datetime": "a moment, by RFC 3339",
    "Number out of range": "a number within the range of doubles",
}


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
        said, _, at = str(exc).partition(" - at ")
        where = at.strip("`") or "$"
        if found := FIELD.fullmatch(said):
            kind, name = found.groups()
            what = (
                (REQUIRED, "nothing") if kind == "missing required" else ("no field of this name", "an unknown field")
            )
            return cls.of(Fault(f"{where}.{name}", *what))
        return cls.of(Fault(where, *parted(said)))

    def body(self, path: str = "") -> bytes:
        """Write it as the client of a path gets it."""
        said = {"title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail}
        said |= {"error": self.detail} if path.startswith(V2) else {}
        return msgspec.json.encode(said | ({"errors": self.faults} if self.faults else {}))


def parted(said: str) -> tuple[str, str]:
    """Part what msgspec says into what was expected, in the words of the document, and of what type it was."""
    expected, _, got = said.removeprefix("Expected ").partition(", got ")
    return MEANT.get(expected) or _in_words(expected).replace("\\\\", "\\").replace("\\Z'", "$'"), _in_words(got)


def _in_words(told: str) -> str:
    return re.sub("`([^`]*)`", lambda found: " or ".join(KINDS.get(k, k) for k in found[1].split(" | ")), told)
