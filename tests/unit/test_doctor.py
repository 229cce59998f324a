"""What is missing on a machine comes with the command that mends it."""

import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from conftest import ROOT

from tasks.doctor import GIB, checks
from tasks.show import doctor_report


def check(name: str, root: Path) -> dict[str, Any]:
    return next(each for each in checks(root) if each["name"] == name)


def locked(root: Path, *lines: str) -> Path:
    text = "".join(f"{line} \\\n    --hash=sha256:0\n    # via something\n" for line in lines)
    (root / "requirements.lock").write_text(f"# made by uv\n{text}")
    return root


def test_the_projects_own_lock_is_understood_to_the_last_package() -> None:
    found = check("packages", ROOT)
    there, _, wanted, *_ = found["found"].split()
    assert int(wanted) >= int(there) > 200


@pytest.mark.parametrize("name", ["ruamel.yaml", "ruamel-yaml", "Ruamel_YAML", "zc-lockfile", "flufl_lock"])
def test_a_package_is_found_by_any_spelling_of_its_name(tmp_path: Path, name: str) -> None:
    assert check("packages", locked(tmp_path, f"{name}=={version(name)}"))["ok"]


def test_a_missing_and_an_old_package_are_named(tmp_path: Path) -> None:
    root = locked(tmp_path, "no-such-package==1.0", "polars==0.1", f"duckdb=={version('duckdb')}")
    found = check("packages", root)
    assert not found["ok"]
    assert (found["found"], found["mend"]) == ("1 of 3 as locked, not no-such-package, not polars", "make setup")


def test_a_package_of_another_platform_is_not_missed(tmp_path: Path) -> None:
    assert check("packages", locked(tmp_path, "pywin32==1.0 ; sys_platform == 'win32'"))["found"] == "0 of 0 as locked"
    assert not check("packages", locked(tmp_path, f"no-such==1.0 ; sys_platform == '{sys.platform}'"))["ok"]


def test_another_folder_is_told_so(tmp_path: Path) -> None:
    found = check("packages", tmp_path)
    assert (found["ok"], found["mend"]) == (False, "cd to the project's folder")
    assert str(tmp_path) in found["found"]


@pytest.mark.parametrize(
    ("python", "ok"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 13, 9), True), ((3, 14, 0), False)]
)
def test_python_is_one_that_is_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: tuple[int, int, int], *, ok: bool
) -> None:
    monkeypatch.setattr(sys, "version_info", python)
    found = check("python", tmp_path)
    monkeypatch.undo()
    assert (found["ok"], found["found"]) == (ok, ".".join(map(str, python)))


def test_too_little_memory_and_disk_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=GIB))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * GIB))
    memory, disk = check("memory", tmp_path), check("disk", tmp_path)
    assert (memory["ok"], memory["found"], memory["mend"]) == (
        False,
        "1.0 GiB free",
        "close programs: 3 GiB are needed",
    )
    assert (disk["ok"], disk["found"]) == (False, "2 GiB free")
    assert "make clean" in disk["mend"]


def test_git_is_looked_for_and_a_folder_without_it_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/git")
    outside = check("git", tmp_path)
    assert (outside["found"], outside["ok"]) == ("installed, but this is no checkout", False)
    assert outside["mend"] == "dvc config core.no_scm true"
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = True\n")
    assert check("git", tmp_path)["ok"]
    monkeypatch.setattr(shutil, "which", lambda _: None)
    missing = check("git", tmp_path)
    assert (missing["ok"], missing["mend"]) == (False, "apt-get install git")
    assert "MISSING  git" in doctor_report([missing])


@pytest.mark.parametrize(("found", "ok"), [("1.2.0", False), ("1.9.0", True), ("1.14.3", True), ("2.0.0", False)])
def test_a_terraform_that_is_too_old_is_told(
    found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, ok: bool
) -> None:
    own = tmp_path / "terraform"
    own.write_text(f'#!/bin/sh\necho \'{{"terraform_version": "{found}"}}\'\n')
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    said = check("terraform", ROOT)
    assert (said["ok"], found in said["found"], "1.9 or newer" in said["mend"]) == (ok, True, not ok)
