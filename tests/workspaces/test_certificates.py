"""The gateway has its certificate by its own authority, from files, or by ACME, as the variable says."""

import json
import os
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from stood import until

from tandem.workspace import LOCKED, READERS
from tasks.containers import engine

FILES = "/run/secrets/cert.pem /run/secrets/key.pem"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The gateway's folder of secrets: who is let in, and a certificate of somebody's authority with its key."""
    (tmp_path / "people").write_text("map {http.auth.user.id} {role} {\n\tada viewer\n}\n")
    certified(tmp_path)
    return tmp_path


def certified(folder: Path) -> None:
    """Put a new certificate there."""
    key, name, today = ec.generate_private_key(ec.SECP256R1()), "models.example.org", datetime.now(UTC)
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(named, named, key.public_key(), 1, today, today + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(encoding))
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    for path in (folder, *folder.iterdir()):
        os.chown(path, READERS["gateway"], READERS["gateway"])


@pytest.fixture
def image(var: Path) -> str:
    found: str = json.loads((var / "workspaces" / LOCKED).read_text())["images"]["gateway"]
    return found


def given(tls: str, secrets: Path) -> dict[str, object]:
    environment = {"TLS": tls, "SITES": "https://models.example.org:8443", "NAME": "models.example.org"}
    return {"environment": environment, "volumes": {str(secrets): {"bind": "/run/secrets", "mode": "ro"}}}


def test_a_certificate_from_files_is_shown(image: str, secrets: Path) -> None:
    started = engine().containers.run(image, detach=True, **given(FILES, secrets))
    try:
        started.reload()
        where = (started.attrs["NetworkSettings"]["IPAddress"], 8443)
        shown: list[str] = []

        def shows() -> bool:
            with suppress(OSError):
                shown.append(ssl.get_server_certificate(where, timeout=5))
            return bool(shown)

        until(shows, "it answers", 20)
        assert shown[0].split() == (secrets / "cert.pem").read_text().split()
        started.exec_run(["gate", "again"])
        assert "load complete" not in started.logs().decode()
        certified(secrets)
        assert started.exec_run(["gate", "again"]).exit_code == 0
        assert ssl.get_server_certificate(where, timeout=5).split() == (secrets / "cert.pem").read_text().split()
        assert shown[0].split() != (secrets / "cert.pem").read_text().split()
    finally:
        started.remove(force=True)


@pytest.mark.parametrize(("tls", "issuer"), [("ops@example.org", "acme"), ("internal", "internal")])
def test_an_authority_is_asked_as_the_variable_says(tls: str, issuer: str, image: str, secrets: Path) -> None:
    command = ["caddy", "adapt", "--config", "/etc/caddy/Caddyfile", "--validate"]
    said = engine().containers.run(image, command, remove=True, stderr=False, **given(tls, secrets))
    apps = json.loads(said)["apps"]
    (policy,) = [
        each for each in apps["tls"]["automation"]["policies"] if "models.example.org" in each.get("subjects", [])
    ]
    assert issuer in {each["module"] for each in policy["issuers"]}
    assert issuer != "acme" or {each["email"] for each in policy["issuers"]} == {tls}
    assert apps["http"]["https_port"] == 8443, "challenges come where the port is published"
