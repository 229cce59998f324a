"""Where policy asks for it, only what a trusted key approved of answers: at promote, at sync, and in another workspace."""

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Workspace
from msgspec.structs import replace
from published import another, opened, put_in

from flows.attest import attest
from flows.lineage import lineage
from flows.move import bring_in, export
from flows.promote import promote, rollback
from flows.publish import publish
from flows.sync import sync
from tandem import archive
from tandem.attestations import TYPES, Kind, Trust
from tandem.bundle import Bundle
from tandem.errors import AttestationError, BundleError
from tandem.files import sha256_of
from tandem.registry import ATTESTED, Registry, State
from tandem.settings import Settings
from tandem.signing import Signer
from tasks.show import lineage_tree

pytestmark = pytest.mark.usefixtures("no_git")


@dataclass(frozen=True)
class Place:
    """A workspace whose policy asks for an approval, with two versions, and a key that it trusts."""

    registry: Registry
    settings: Settings
    bundle: Bundle
    other: Bundle
    key: Path

    def attest(self, ref: str, key: Path | None = None, kind: Kind = "approval") -> None:
        attest(self.registry, ref, kind, key or self.key, "the canary held")


@pytest.fixture
def place(built: Workspace, tracked: Settings, tmp_path: Path) -> Place:
    settings = replace(tracked, accept="attested")
    registry, key = opened(settings), tmp_path / "keys" / "ada"
    Signer.new(key)
    settings.trusted.mkdir(parents=True)
    key.with_name("ada.pub").rename(settings.trusted / "ada.pub")
    bundle = Bundle.open(built.data / "bundle")
    other = another(bundle, tmp_path / "other", note="other")
    for each in (bundle, other):
        put_in(registry, each)
    return Place(registry, settings, bundle, other, key)


def test_no_champion_and_no_challenger_without_an_approval(place: Place) -> None:
    with pytest.raises(AttestationError, match="has no approval that counts: nothing was said of it"):
        promote(place.registry, "1", "champion", None, "why not")
    place.attest("1")
    assert promote(place.registry, "1", "champion", None, "approved").champion == place.bundle.digest
    with pytest.raises(AttestationError, match="has no approval"):
        promote(place.registry, "2", "challenger", 0.1, "why not")
    assert promote(place.registry, "2", "shadow", None, "it answers nobody").shadow == place.other.digest
    assert sync(place.registry, place.settings).generation == 2
    place.attest("2", kind="provenance")
    with pytest.raises(AttestationError, match=r"what is said is https://slsa.dev/provenance/v1"):
        promote(place.registry, "2", "champion", None, "why not")
    place.attest("2")
    promote(place.registry, "2", "champion", None, "approved")
    (place.settings.trusted / "ada.pub").unlink()
    with pytest.raises(AttestationError, match="which is not in"):
        rollback(place.registry, "back")


def test_the_tag_alone_is_not_believed(place: Place) -> None:
    place.registry.client.set_model_version_tag("parcels", "1", ATTESTED, "approval")
    assert place.registry.find("1").attested
    with pytest.raises(AttestationError, match="nothing was said"):
        promote(place.registry, "1", "champion", None, "it says so")


def test_a_first_publish_becomes_champion_only_if_it_is_approved(built: Workspace, tracked: Settings) -> None:
    settings = replace(tracked, accept="attested")
    registry = opened(settings)
    _, proposal = publish(registry, Bundle.open(built.data / "bundle"), settings)
    assert "has no approval that counts" in proposal["reason"]
    assert registry.state() == State()


def test_an_approval_of_another_bundle_or_by_another_key_is_refused(place: Place, tmp_path: Path) -> None:
    place.attest("1")
    (envelope,) = place.registry.attestations(place.registry.find("1"))
    place.registry.attest(place.registry.find("2"), "approval", envelope, "moved over")
    with pytest.raises(AttestationError, match=f"it is about {place.bundle.digest[:12]}, not about this bundle"):
        promote(place.registry, "2", "champion", None, "why not")
    Signer.new(tmp_path / "eve")
    place.attest("2", tmp_path / "eve")
    with pytest.raises(AttestationError, match="which is not in"):
        promote(place.registry, "2", "champion", None, "why not")
    place.attest("2")
    assert promote(place.registry, "2", "champion", None, "one counts").champion == place.other.digest


def test_sync_checks_again(place: Place) -> None:
    place.attest("1")
    promote(place.registry, "1", "champion", None, "approved")
    assert sync(place.registry, place.settings).generation == 1
    open_policy = opened(replace(place.settings, accept="any"))
    promote(open_policy, "2", "challenger", 0.5, "past the policy")
    synced = sync(place.registry, place.settings)
    assert (synced.generation, synced.refused) == (1, 1)
    assert "has no approval that counts: nothing was said of it" in synced.reason
    assert place.registry.refused()[0]["digest"] == place.other.digest
    place.attest("2")
    assert sync(place.registry, place.settings).generation == 2


def test_each_is_told_in_the_audit_the_tag_and_the_lineage(place: Place, tmp_path: Path) -> None:
    for kind in TYPES:
        place.attest("1", kind=kind)
    Signer.new(tmp_path / "eve")
    place.attest("1", tmp_path / "eve")
    events = [event for event in place.registry.events() if event["event"] == "attest"]
    assert [event["as"] for event in events] == ["approval", "provenance", "verdict", "approval"]
    assert {event["digest"] for event in events} == {place.bundle.digest}
    assert len({event["envelope"] for event in events}) == 4
    tags = place.registry.client.get_model_version("parcels", "1").tags
    assert tags[ATTESTED] == "approval, provenance, verdict"
    found = lineage(place.registry, "1")
    assert sorted(str(said["as"]) for said in found["attested"]) == ["None", "approval", "provenance", "verdict"]
    text = lineage_tree(found)
    assert "approval by" in text
    assert "does not count: it is signed by key" in text
    version = place.registry.find("1")
    envelopes = place.registry.attestations(version)
    for envelope in envelopes:
        place.registry.attest(version, "approval", envelope, "again")
    assert place.registry.attestations(version) == envelopes
    assert len(place.registry.events()) == len(events)


def test_provenance_and_verdict_say_what_the_bundle_does(place: Place) -> None:
    place.attest("1", kind="provenance")
    place.attest("1", kind="verdict")
    trust, version = Trust(place.settings.trusted), place.registry.find("1")
    said = [trust.statement(each, place.bundle.digest) for each in place.registry.attestations(version)]
    by_type = {each.predicate_type: each.predicate for each in said}
    build = by_type[TYPES["provenance"]]["buildDefinition"]
    inputs = place.bundle.json("inputs.json")
    landed = {digest for digests in inputs["landing"].values() for digest in digests}
    assert landed <= {each["digest"].get("sha256") for each in build["resolvedDependencies"]}
    assert build["externalParameters"] == place.bundle.json("params.json")
    assert by_type[TYPES["provenance"]]["runDetails"]["metadata"]["invocationId"] == version.run
    assert by_type[TYPES["verdict"]]["gates"] == place.bundle.json("reports/evaluation.json")["gates"]
    assert by_type[TYPES["verdict"]]["reason"] == "the canary held"


def test_an_archive_carries_what_was_said_and_another_workspace_checks_it(place: Place, tmp_path: Path) -> None:
    place.attest("1")
    place.attest("1", kind="provenance")
    first, second = (export(place.registry, "1", tmp_path / f"{name}.tar") for name in ("a", "b"))
    assert sha256_of(first) == sha256_of(second)
    with tarfile.open(first) as packed:

        def read(name: str) -> Any:  # noqa: ANN401 - whatever JSON holds
            return json.loads((packed.extractfile(name) or io.BytesIO()).read())

        subject, *referrers = read("index.json")["manifests"]
        manifests = [read(f"blobs/sha256/{each['digest'].removeprefix('sha256:')}") for each in referrers]
        assert [each["subject"] for each in manifests] == [subject, subject]

    prod = Settings(data=tmp_path / "prod", var=tmp_path / "prod", accept="attested", trust=place.settings.trusted)
    there = Registry("parcels", prod, place.registry._clock)  # noqa: SLF001
    version, proposal = bring_in(there, first, prod)
    assert proposal["reason"] == "the first of this workspace, champion by its policy"
    assert there.state().champion == version.digest == place.bundle.digest
    assert sorted(there.attestations(version)) == sorted(place.registry.attestations(place.registry.find("1")))
    assert there.client.get_model_version("parcels", "1").tags[ATTESTED] == "approval, provenance"
    before = there.events()
    bring_in(there, first, prod)
    assert there.events() == before
    assert sha256_of(export(there, "1", tmp_path / "c.tar")) == sha256_of(first)


def test_an_archive_with_a_changed_envelope_is_refused(place: Place, tmp_path: Path) -> None:
    place.attest("1")
    path = export(place.registry, "1", tmp_path / "a.tar")
    (envelope,) = place.registry.attestations(place.registry.find("1"))
    data = path.read_bytes()
    path.write_bytes(data.replace(envelope, envelope.replace(b'"keyid"', b'"keyld"')))
    with pytest.raises(BundleError, match=r"was changed|was damaged"):
        archive.unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
