"""Attestations: what is said about a bundle, detached, bound to its digest, and signed.

Each is an in-toto statement in a DSSE envelope, signed with Ed25519. It counts if every signature of its envelope is a
trusted key's and good, and only then is it parsed.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import msgspec

from tandem.bundle import Bundle
from tandem.errors import AttestationError
from tandem.files import canonical_json
from tandem.signing import Signer, public_key

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Key

Kind = Literal["approval", "provenance", "verdict"]
TYPES: Mapping[Kind, str] = {
    "approval": "urn:tandem:approval:v1",
    "provenance": "https://slsa.dev/provenance/v1",
    "verdict": "urn:tandem:verdict:v1",
}
KINDS = {of: kind for kind, of in TYPES.items()}
STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
LARGEST = 1 << 20
"""Bytes of one envelope, at most."""


class Subject(msgspec.Struct, frozen=True):
    """What a statement is about."""

    name: str
    digest: dict[str, str]


class Statement(msgspec.Struct, frozen=True):
    """An in-toto statement."""

    kind: Annotated[str, msgspec.Meta(pattern=rf"\A{STATEMENT}\Z")] = msgspec.field(name="_type")
    subject: Annotated[tuple[Subject, ...], msgspec.Meta(min_length=1)]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: dict[str, Any]

    @classmethod
    def about(cls, bundle: Bundle, kind: Kind, predicate: dict[str, Any]) -> Self:
        """Say something about a bundle."""
        name = bundle.annotations.get("tandem.problem", "bundle")
        return cls(STATEMENT, (Subject(name, {"sha256": bundle.digest}),), TYPES[kind], predicate)

    def signed(self, signer: Signer) -> bytes:
        """Put it into an envelope."""
        return signer.sign(canonical_json(msgspec.to_builtins(self)).encode(), PAYLOAD)


class Trust:
    """The public keys that a workspace trusts: `*.pub` in a folder."""

    def __init__(self, folder: Path) -> None:
        """Read them.

        Raises:
            AttestationError: a file is no Ed25519 key.

        """
        self.folder = folder
        self.keys: dict[str, Key] = {}
        for path in sorted(folder.glob("*.pub")):
            key = public_key(path)
            self.keys[key.keyid] = key

    def statement(self, envelope: bytes, digest: str) -> Statement:
        """Read what an envelope says about a bundle, once all its signatures were found good.

        Raises:
            AttestationError: it does not count.

        """
        found = _envelope(envelope)
        if unknown := sorted(found.signatures.keys() - self.keys.keys()):
            msg = f"it is signed by key {unknown[0][:12]}, which is not in {self.folder}"
            raise AttestationError(msg)
        self._check(found)
        try:
            statement = msgspec.json.decode(found.payload, type=Statement)
        except (msgspec.DecodeError, RecursionError) as exc:
            msg = f"it holds no in-toto statement: {exc}"
            raise AttestationError(msg) from exc
        if not any(subject.digest.get("sha256") == digest for subject in statement.subject):
            other = statement.subject[0].digest.get("sha256", "nothing")
            msg = f"it is about {other[:12]}, not about this bundle"
            raise AttestationError(msg)
        return statement

    def _check(self, envelope: "Envelope") -> None:
        """Check every signature: one that is bad spoils those that are good."""
        from securesystemslib.exceptions import VerificationError  # noqa: PLC0415 - 0.4 s, and serving does without

        many = len(envelope.signatures)
        try:
            envelope.verify([self.keys[name] for name in envelope.signatures], many)
        except VerificationError as exc:
            msg = "its signature is not good" if many == 1 else f"of its {many} signatures not all are good"
            raise AttestationError(msg) from exc

    def demand(self, envelopes: Iterable[bytes], digest: str, kinds: Collection[Kind]) -> None:
        """Check that all that is demanded was said of a bundle, by a key that is trusted.

        Raises:
            AttestationError: something was not, with the reason for each envelope that does not count.

        """
        said, reasons = set[str](), []
        for envelope in envelopes:
            try:
                said.add(self.statement(envelope, digest).predicate_type)
            except AttestationError as exc:
                reasons.append(f"{name_of(envelope)}: {exc}")
        if missing := [kind for kind in kinds if TYPES[kind] not in said]:
            others = sorted(said)
            reasons += [f"what is said is {', '.join(others)}"] if others else []
            told = "; ".join(reasons) or "nothing was said of it"
            msg = f"bundle {digest[:12]} has no {' and no '.join(missing)} that counts: {told}"
            raise AttestationError(msg)

    def kind(self, envelope: bytes, digest: str) -> str:
        """Tell in a word what an envelope says of a bundle; `untrusted` if it does not count."""
        try:
            return KINDS.get(self.statement(envelope, digest).predicate_type, "other")
        except AttestationError:
            return "untrusted"

    def told(self, envelope: bytes, digest: str) -> dict[str, Any]:
        """Tell for people what an envelope says, and whether it counts."""
        try:
            found = self.statement(envelope, digest)
        except AttestationError as exc:
            return {"name": name_of(envelope), "as": None, "trusted": False, "reason": str(exc)}
        said: dict[str, Any] = {"as": KINDS.get(found.predicate_type, found.predicate_type), "trusted": True}
        keys = ", ".join(name[:12] for name in _envelope(envelope).signatures)
        beside = {name: str(found.predicate.get(name, "")) for name in ("by", "at", "reason")}
        return {"name": name_of(envelope), **said, "key": keys, **beside}


def name_of(envelope: bytes) -> str:
    """Name an envelope by what is in it."""
    return hashlib.sha256(envelope).hexdigest()[:12]


def key_of(envelope: bytes) -> str:
    """Name the keys that an envelope says it is signed by, trusted or not.

    Raises:
        AttestationError: it is no envelope.

    """
    return ", ".join(sorted(_envelope(envelope).signatures))


def _envelope(data: bytes) -> "Envelope":
    from securesystemslib.dsse import Envelope  # noqa: PLC0415

    if len(data) > LARGEST:
        msg = f"it is larger than an envelope may be, {LARGEST >> 10} KiB"
        raise AttestationError(msg)
    try:
        found = Envelope.from_dict(json.loads(data))
        whole = isinstance(found.payload_type, str) and all(
            isinstance(each.keyid, str) for each in found.signatures.values()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        msg = f"it is no DSSE envelope: {exc!r}"
        raise AttestationError(msg) from exc
    if not whole or found.payload_type != PAYLOAD:
        msg = f"it holds {str(found.payload_type)[:60]}, not {PAYLOAD}"
        raise AttestationError(msg)
    if not found.signatures:
        msg = "it is not signed"
        raise AttestationError(msg)
    return found


def stamped(moment: datetime, by: str, reason: str) -> dict[str, Any]:
    """Say who says it, when by the wall, and why."""
    return {"by": by, "at": f"{moment.isoformat(timespec='seconds')}Z", "reason": reason}
