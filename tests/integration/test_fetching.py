"""A pinned file of a source distribution is fetched by pip, from whatever index is set up: here a folder."""

import io
import os
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from tandem.errors import SourceError
from tandem.landing import Pin, Pins
from tandem.problem import Problem, Source
from tasks.landing import landed_files

DATA = b"a,b\n1,2\n"
ANIMALS = "zoo-1.0/data/animals.csv"
ZOO = Problem(name="zoo", question="?", sources=(Source("animals", "csv"),), keys=(), rates=())
FILES = {
    "zoo-1.0/PKG-INFO": b"Metadata-Version: 2.1\nName: zoo\nVersion: 1.0\n",
    "zoo-1.0/setup.py": b"from setuptools import setup\nsetup(name='zoo', version='1.0')\n",
    ANIMALS: DATA,
}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest of a source distribution which the only index there is has."""
    project = tmp_path / "index" / "zoo"
    project.mkdir(parents=True)
    (project / "index.html").write_text('<a href="zoo-1.0.tar.gz">zoo-1.0.tar.gz</a>')
    with tarfile.open(project / "zoo-1.0.tar.gz", "w:gz") as packed:
        for name, data in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", project.parent.as_uri())
    return sha256((project / "zoo-1.0.tar.gz").read_bytes()).hexdigest()


def fetched(fetch: str, folder: Path, data: bytes = DATA) -> Path:
    pin = Pin(source="zoo/animals", sha256=sha256(data).hexdigest(), bytes=len(data), fetch=fetch)
    return landed_files(Pins(pins=(pin,)), ZOO, folder)["animals"][0]


def test_a_file_of_a_source_distribution_lands(archive: str, tmp_path: Path) -> None:
    landed = fetched(f"pypi:zoo==1.0#{ANIMALS}?sha256={archive}", tmp_path / "landing")
    assert landed == tmp_path / "landing" / sha256(DATA).hexdigest()
    assert landed.read_bytes() == DATA
    assert landed.stat().st_mode & 0o222 == 0


@pytest.mark.parametrize(
    ("fetch", "told"),
    [
        (
            "pypi:zoo==1.0#{member}?sha256={wrong}",
            "pip could not fetch zoo==1.0: THESE PACKAGES DO NOT MATCH THE HASHES",
        ),
        ("pypi:zoo==2.0#{member}?sha256={right}", r"pip could not fetch zoo==2.0: .* \(from versions: 1.0\)"),
        ("pypi:ark==1.0#{member}?sha256={right}", r"pip could not fetch ark==1.0: .* \(from versions: none\)"),
        ("pypi:zoo==1.0#zoo-1.0/none.csv?sha256={right}", "zoo-1.0.tar.gz holds no zoo-1.0/none.csv"),
        ("pypi:zoo==1.0#zoo-1.0/setup.py?sha256={right}", "which is pinned"),
    ],
)
def test_what_pip_cannot_fetch_is_told_and_nothing_lands(archive: str, tmp_path: Path, fetch: str, told: str) -> None:
    landing = tmp_path / "landing"
    with pytest.raises(SourceError, match=told):
        fetched(fetch.format(member=ANIMALS, right=archive, wrong="0" * 64), landing)
    assert not landing.exists() or list(landing.iterdir()) == []


def test_without_an_index_it_is_told(archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SourceError, match=r"zoo==1\.0: Could not find a version"):
        fetched(f"pypi:zoo==1.0#{ANIMALS}?sha256={archive}", tmp_path / "landing")


def test_what_has_landed_needs_no_index(archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = f"pypi:zoo==1.0#{ANIMALS}?sha256={archive}"
    landed = fetched(fetch, tmp_path / "landing")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert fetched(fetch, tmp_path / "landing") == landed
