"""What is said about a bundle, and by whom."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.shared import group, registry, say

app = group()
signer = group(help="Keys that sign.\n\nExample: tandem signer new ~/ada")


class Kind(StrEnum):
    """What can be said."""

    approval = "approval"
    provenance = "provenance"
    verdict = "verdict"


@app.command()
def attest(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, digest or alias.")],
    kind: Annotated[Kind, typer.Option("--as", help="What is said.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="The private key, as `tandem signer new` makes it.")],
    reason: Annotated[str, typer.Option(help="Why; it is signed too.")] = "",
) -> None:
    """Say something about a bundle, signed.

    An approval, where it is from, or how it was judged: an in-toto statement in a DSSE envelope, beside the bundle.
    It counts where the key's public half is in TANDEM_TRUST (var/trust).

    Example: tandem attest champion --as approval --key ~/ada --reason "the canary held"
    """
    from flows.attest import attest as flow  # noqa: PLC0415

    found, name = flow(registry(), version, kind.value, key, reason)
    say(f"version {found.version} has {kind.value} {name}")


@signer.command("new")
def signer_new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The private key; the public one is FILE.pub.")],
) -> None:
    """Make a key that signs.

    Ed25519, in PEM. The private half is for its owner alone; where the public half lies in TANDEM_TRUST (var/trust),
    what is signed counts.

    Example: tandem signer new ~/ada
    """
    from tandem.signing import Signer  # noqa: PLC0415

    made = Signer.new(file)
    say(f"key {made.key[:12]}: {file} signs, {file}.pub is for who trusts it")
