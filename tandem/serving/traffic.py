"""Who answers: what `traffic.json` says, and how a request finds its variant."""

from hashlib import blake2b
from pathlib import Path
from typing import Literal

import msgspec

from tandem.errors import TrafficError

Role = Literal["champion", "challenger", "shadow"]
TRAFFIC, BUNDLES = "traffic.json", "bundles"
WHOLE = 1 << 64


class Traffic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which bundles answer, by digest; written whole by sync, in one step."""

    champion: str
    generation: int = 0
    challenger: str | None = None
    share: float = 0.0
    """Of the keys, that the challenger answers."""
    shadow: str | None = None
    key: tuple[str, ...] = ()
    """The fields by which a request finds the same variant again."""
    salt: str = ""
    """Of the challenger: so that another one is tried on other keys, and a changed share moves no more than it must."""
    reason: str = ""
    by: str = ""

    @property
    def digests(self) -> dict[Role, str]:
        """The bundle of each role that is taken."""
        named: dict[Role, str | None] = {
            "champion": self.champion,
            "challenger": self.challenger,
            "shadow": self.shadow,
        }
        return {role: digest for role, digest in named.items() if digest}

    def challenged(self, key: object) -> bool:
        """Say whether the challenger answers for a key: always the same, at the same share and salt."""
        spread = blake2b(msgspec.msgpack.encode(key), digest_size=8, key=self.salt.encode())
        return int.from_bytes(spread.digest(), "big") < self.share * WHOLE

    @classmethod
    def load(cls, path: Path) -> "Traffic | None":
        """Read what sync wrote last; None if it never did.

        Raises:
            TrafficError: it cannot be read.

        """
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as exc:
            msg = f"{path} says nothing that can be served: {exc}. `tandem sync` writes it anew"
            raise TrafficError(msg) from exc
