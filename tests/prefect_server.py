"""A real Prefect server, and what it is asked."""

import socket
import subprocess
import time
from typing import Any

import httpx
import pytest

LONGEST = 120


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def wait_for(server: "subprocess.Popen[bytes]", api: str) -> None:
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        assert server.poll() is None, "the Prefect server ended"
        try:
            if httpx.get(f"{api}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail("the Prefect server did not come up")


def runs(prefect: dict[str, str], kind: str) -> list[dict[str, Any]]:
    """Ask the API for all runs of a kind, the oldest first."""
    found: list[dict[str, Any]] = httpx.post(f"{prefect['PREFECT_API_URL']}/{kind}_runs/filter", json={}).json()
    return sorted(found, key=lambda run: run["created"])


def named_flows(prefect: dict[str, str]) -> dict[str, str]:
    found = httpx.post(f"{prefect['PREFECT_API_URL']}/flows/filter", json={}).json()
    return {flow["id"]: flow["name"] for flow in found}
