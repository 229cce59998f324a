"""Keys that sign, and keys that are trusted: Ed25519, in PEM files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tandem.errors import AttestationError
from tandem.files import canonical_json, write_text

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, Key


class Signer:
    """A private key that signs."""

    def __init__(self, signer: "CryptoSigner") -> None:
        """Take over the library's."""
        self._signer = signer
        self.key = signer.public_key.keyid

    @classmethod
    def new(cls, path: Path) -> Self:
        """Make a key: the private one in a file that its owner alone reads, the public one beside it.

        Raises:
            AttestationError: a file is in its place.

        """
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - as below
        from securesystemslib.signer import CryptoSigner  # noqa: PLC0415 - 0.4 s, and serving does without

        public = path.with_name(f"{path.name}.pub")
        if there := [each for each in (path, public) if each.exists()]:
            msg = f"{there[0]} is there: what was signed with it could not be told from what is signed anew"
            raise AttestationError(msg)
        made = CryptoSigner.generate_ed25519()
        key = _private(made.private_bytes, path).public_key()
        write_text(path, made.private_bytes.decode(), private=True)
        write_text(public, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())
        return cls(made)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a private key.

        Raises:
            AttestationError: it is none of ours, or others can read it.

        """
        from securesystemslib.signer import CryptoSigner  # noqa: PLC0415

        try:
            if path.stat().st_mode & 0o077:
                msg = f"{path} can be read by others: chmod 600 {path}"
                raise AttestationError(msg)
            return cls(CryptoSigner(_private(path.read_bytes(), path)))
        except OSError as exc:
            msg = f"{path} cannot be read: {exc.strerror}. `tandem signer new {path}` makes a key"
            raise AttestationError(msg) from exc

    def sign(self, payload: bytes, kind: str) -> bytes:
        """Put something into an envelope."""
        from securesystemslib.dsse import Envelope  # noqa: PLC0415

        envelope = Envelope(payload, kind, {})
        envelope.sign(self._signer)
        return canonical_json(envelope.to_dict()).encode()


def _private(data: bytes, path: Path) -> Any:  # noqa: ANN401 - the library's
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError) as exc:
        msg = f"{path} is no private key: {exc}"
        raise AttestationError(msg) from exc
    if not isinstance(key, Ed25519PrivateKey):
        msg = f"{path} is no Ed25519 key"
        raise AttestationError(msg)
    return key


def public_key(path: Path) -> "Key":
    """Read a public key.

    Raises:
        AttestationError: it is none of ours.

    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415
    from securesystemslib.signer import SSlibKey  # noqa: PLC0415

    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as exc:
        msg = f"{path} is no public key: {exc}"
        raise AttestationError(msg) from exc
    if not isinstance(key, Ed25519PublicKey):
        msg = f"{path} is no Ed25519 key"
        raise AttestationError(msg)
    return SSlibKey.from_crypto(key)
