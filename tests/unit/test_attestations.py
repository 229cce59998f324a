"""What is said of a bundle counts if every signature is a trusted key's and good; all else is refused with a reason."""

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from tandem.attestations import LARGEST, PAYLOAD, STATEMENT, TYPES, Statement, Subject, Trust, name_of
from tandem.errors import AttestationError
from tandem.signing import Signer

A, B = "a" * 64, "b" * 64


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.new(tmp_path / "ada")


@pytest.fixture
def trust(signer: Signer, tmp_path: Path) -> Trust:
    assert signer.key
    return Trust(tmp_path)


def approval(digest: str = A, of: str = TYPES["approval"], kind: str = STATEMENT) -> Statement:
    return Statement(kind, (Subject("p", {"sha256": digest}),), of, {"by": "ada", "reason": "fair"})


def both(*envelopes: bytes) -> dict[str, Any]:
    """One envelope with the signatures of several."""
    read: list[dict[str, Any]] = [json.loads(each) for each in envelopes]
    return read[0] | {"signatures": [signature for each in read for signature in each["signatures"]]}


def refused(trust: Trust, envelope: bytes | dict[str, Any], digest: str = A) -> str:
    data = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    with pytest.raises(AttestationError) as told:
        trust.demand([data], digest, ["approval"])
    assert str(told.value).startswith(f"bundle {digest[:12]} has no approval that counts: {name_of(data)}: ")
    assert trust.told(data, digest)["trusted"] is False
    return str(told.value).split(": ", 2)[2]


def test_what_a_trusted_key_signed_counts(signer: Signer, trust: Trust, tmp_path: Path) -> None:
    envelope = approval().signed(signer)
    assert trust.statement(envelope, A) == approval()
    trust.demand([envelope], A, ["approval"])
    assert trust.told(envelope, A) | {"name": ""} == {
        "name": "",
        "as": "approval",
        "trusted": True,
        "key": signer.key[:12],
        "by": "ada",
        "at": "",
        "reason": "fair",
    }
    said = json.loads(envelope)
    payload = base64.b64decode(said["payload"])
    signed = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
    key: Any = load_pem_public_key((tmp_path / "ada.pub").read_bytes())
    key.verify(base64.b64decode(said["signatures"][0]["sig"]), signed)  # as any other tool would
    assert json.loads(payload)["subject"] == [{"name": "p", "digest": {"sha256": A}}]


def test_all_that_is_demanded_must_be_said(signer: Signer, trust: Trust) -> None:
    said = [approval().signed(signer), approval(of=TYPES["verdict"]).signed(signer)]
    trust.demand(said, A, ["approval", "verdict"])
    with pytest.raises(AttestationError, match="no approval that counts: what is said is urn:tandem:verdict:v1"):
        trust.demand(said[1:], A, ["approval"])
    with pytest.raises(AttestationError, match="no approval and no provenance that counts: nothing was said of it"):
        trust.demand([], A, ["approval", "provenance"])
    trust.demand([b"rubbish", *said], A, ["approval"])


def test_about_another_bundle_it_says_nothing(signer: Signer, trust: Trust) -> None:
    assert refused(trust, approval(B).signed(signer)) == f"it is about {B[:12]}, not about this bundle"
    nobody = Statement(STATEMENT, (Subject("p", {"sha512": A}),), TYPES["approval"], {})
    assert "it is about nothing" in refused(trust, nobody.signed(signer))


@pytest.mark.parametrize("payload", [b"{}", b"no json", b"[" * 100_000, json.dumps({"_type": STATEMENT}).encode()])
def test_what_is_no_statement_is_refused(signer: Signer, trust: Trust, payload: bytes) -> None:
    assert "it holds no in-toto statement" in refused(trust, signer.sign(payload, PAYLOAD))


def test_another_type_is_refused(signer: Signer, trust: Trust) -> None:
    assert "no in-toto statement" in refused(trust, approval(kind="https://in-toto.io/Statement/v0.1").signed(signer))
    assert "it holds text/plain, not" in refused(trust, signer.sign(b"{}", "text/plain"))


def test_an_unknown_key_is_refused(trust: Trust, tmp_path: Path) -> None:
    eve = Signer.new(tmp_path / "elsewhere" / "eve")
    envelope = approval().signed(eve)
    assert f"it is signed by key {eve.key[:12]}, which is not in" in refused(trust, envelope)
    assert trust.kind(envelope, A) == "untrusted"
    assert "it is signed by key" in refused(Trust(tmp_path / "nowhere"), envelope)
    stolen = json.loads(envelope)
    stolen["signatures"][0]["keyid"] = next(iter(trust.keys))
    assert "its signature is not good" in refused(trust, stolen)


def test_of_two_signatures_both_must_be_good(signer: Signer, tmp_path: Path) -> None:
    bob = Signer.new(tmp_path / "bob")
    trust = Trust(tmp_path)
    ours, theirs, other = approval().signed(signer), approval().signed(bob), approval(B).signed(bob)
    trust.demand([json.dumps(both(ours, theirs)).encode()], A, ["approval"])
    assert "of its 2 signatures not all are good" in refused(trust, both(ours, other))
    assert "is no DSSE envelope" in refused(trust, both(ours, ours))
    (tmp_path / "bob.pub").unlink()
    assert "it is signed by key" in refused(Trust(tmp_path), both(ours, theirs))


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_envelope_is_refused(signer: Signer, trust: Trust, seed: int) -> None:
    draw, envelope = random.Random(seed), approval().signed(signer)  # noqa: S311
    said = json.loads(envelope)
    if seed % 3 == 0:
        payload = bytearray(base64.b64decode(said["payload"]))
        payload[draw.randrange(len(payload))] ^= 1 << draw.randrange(8)
        said["payload"] = base64.b64encode(payload).decode()
    elif seed % 3 == 1:
        signature = bytearray(base64.b64decode(said["signatures"][0]["sig"]))
        signature[draw.randrange(len(signature))] ^= 1 << draw.randrange(8)
        said["signatures"][0]["sig"] = base64.b64encode(signature[: draw.choice([64, 63, 0])]).decode()
    else:
        refused(trust, envelope[: draw.randrange(len(envelope) - 2)])
        return
    assert "its signature is not good" in refused(trust, said)


@pytest.mark.parametrize(
    "changed",
    [
        {"signatures": []},
        {"signatures": None},
        {"signatures": [{}]},
        {"signatures": [{"keyid": [], "sig": ""}]},
        {"signatures": [{"keyid": 1, "sig": ""}]},
        {"signatures": [{"keyid": "k", "sig": "%"}]},
        {"signatures": [{"keyid": "k", "sig": 1}]},
        {"signatures": "k"},
        {"payload": 1},
        {"payload": "%"},
        {"payloadType": 1},
        {"payloadType": ["a"]},
        {"payloadType": "application/json"},
    ],
)
def test_what_is_no_envelope_is_refused(signer: Signer, trust: Trust, changed: dict[str, Any]) -> None:
    assert "it " in refused(trust, json.loads(approval().signed(signer)) | changed)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"null", b"[" * 100_000, b"{}" + b" " * LARGEST])
def test_what_is_no_json_or_too_large_is_refused(trust: Trust, data: bytes) -> None:
    assert "it is " in refused(trust, data)


def test_one_that_is_good_but_too_large_is_refused(signer: Signer, trust: Trust) -> None:
    assert "it is larger than an envelope may be" in refused(trust, approval().signed(signer) + b" " * LARGEST)


def test_a_private_key_is_its_owners_alone(signer: Signer, tmp_path: Path) -> None:
    path = tmp_path / "ada"
    assert path.stat().st_mode & 0o777 == 0o600
    assert Signer.load(path).key == signer.key
    path.chmod(0o640)
    with pytest.raises(AttestationError, match="can be read by others: chmod 600"):
        Signer.load(path)
    for name in ("ada", "eve"):
        (tmp_path / "eve.pub").touch()
        with pytest.raises(AttestationError, match="is there: what was signed"):
            Signer.new(tmp_path / name)


def test_no_key_and_another_kind_of_key_are_told(tmp_path: Path) -> None:
    key = generate_private_key(SECP256R1())
    private, public = tmp_path / "k", tmp_path / "k.pub"
    private.touch(0o600)
    for data, why in [
        (b"no key", "is no private key"),
        (key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "is no Ed25519 key"),
    ]:
        private.write_bytes(data)
        with pytest.raises(AttestationError, match=why):
            Signer.load(private)
    with pytest.raises(AttestationError, match=r"`tandem signer new .*nowhere` makes a key"):
        Signer.load(tmp_path / "nowhere")
    for data, why in [
        (b"no key", "is no public key"),
        (key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "is no Ed25519 key"),
    ]:
        public.write_bytes(data)
        with pytest.raises(AttestationError, match=why):
            Trust(tmp_path)
