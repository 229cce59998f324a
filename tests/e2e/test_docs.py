"""Docs hold: their commands run in a clone, links lead somewhere, excerpts are the files', figures the last run's."""

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from commands import command, environment
from conftest import ROOT
from pages import FENCE, blocks, page

from flows.cli import app
from tasks.show import figures_table

RUN = ("README.md", "CONTRIBUTING.md", "docs/tutorial.md", "docs/registry.md", "docs/serving.md")
"""Pages whose `sh` blocks are run in a clone, in their order."""
ELSEWHERE = ("docs/operations.md",)
"""Pages whose `sh` blocks are run in workspaces that stand, by tests/workspaces; no other page has any."""
SERVERS = {"make run", "make serve", "tandem serve"}
"""They stay in the foreground: started as in a terminal of their own, and stopped by SIGTERM at the end of the page."""
NOT_RUN = {"make test": "it takes minutes, and .ci/run runs it beside this"}
LANGUAGES = {"sh", "text", "mermaid", "sql", "python", "hcl"}
PORT = ":8080"

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"))
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")


def prose(text: str) -> str:
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(prose(text))}


@contextmanager
def terminal(words: str, folder: Path, beside: dict[str, str]) -> Iterator[None]:
    """Run a server until it says that it serves, and stop it in the end."""
    with subprocess.Popen(
        ["/bin/bash", "-c", words],
        cwd=folder,
        env=environment(folder, beside),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as server:
        assert server.stdout is not None
        said: list[str] = []
        for line in server.stdout:
            said.append(line)
            if line.startswith("serving on"):
                break
        else:
            pytest.fail(f"{words}: ended before it served\n{''.join(said)}")
        try:
            yield
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def follow(text: str, folder: Path) -> int:
    """Do what a reader of a page does; give how many blocks were run."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    beside, done = {"PORT": str(port)}, 0
    with ExitStack() as terminals:
        for block in blocks(text):
            words = block.text.strip()
            if block.language != "sh" or words in NOT_RUN:
                continue
            if words in SERVERS:
                terminals.enter_context(terminal(words, folder, beside))
            else:
                script = words.replace(PORT, f":{port}")
                ended = command(folder, "bash", "-euo", "pipefail", "-c", script, beside=beside)
                assert ended.returncode == 0, f"{words}\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
            done += 1
    return done


@pytest.fixture
def clone(ran: tuple[Path, str], tmp_path: Path) -> Path:
    """A clone with params.fast.yaml as its params, this interpreter's packages, and what an earlier run kept in caches."""
    folder = tmp_path / "tandem"
    listed = command(ROOT, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0")
    for name in listed:
        source, target = ROOT / name, folder / name
        if name and (source.is_file() or source.is_symlink()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    shutil.copyfile(ROOT / "params.fast.yaml", folder / "params.yaml")
    for cache in ("var", ".dvc/cache"):
        shutil.copytree(ran[0] / cache, folder / cache)
    for stamp in ("uv", "run", "dev"):  # newer than the locks: `make setup` finds all done
        (folder / ".venv" / stamp).parent.mkdir(exist_ok=True)
        (folder / ".venv" / stamp).touch()
    identity = (["config", "user.name", "reader"], ["config", "user.email", "reader@example.org"])
    for words in (["init", "--quiet"], *identity, ["add", "--all"], ["commit", "--quiet", "--message", "clone"]):
        done = command(folder, "git", *words)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", RUN)
def test_the_commands_of_a_page_run_in_their_order(name: str, clone: Path) -> None:
    assert follow(page(name), clone) > 0


def test_a_command_that_fails_fails_its_page(tmp_path: Path) -> None:
    assert follow("```sh\ntrue\n```\n```text\nfalse\n```\n", tmp_path) == 1
    with pytest.raises(AssertionError, match="false"):
        follow("```sh\nfalse\ntrue\n```\n", tmp_path)
    with pytest.raises(AssertionError, match="here"):
        follow("```sh\ntest -e here | cat\n```\n", tmp_path)


def test_a_server_that_ends_fails_its_page(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="ended before it served"):
        follow("```sh\ntandem serve\n```\n", tmp_path)


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_of_a_language_that_says_what_becomes_of_it(name: str) -> None:
    found = blocks(page(name))
    assert {block.language for block in found} <= LANGUAGES
    assert page(name).count("```") == 2 * len(found)
    assert name in (*RUN, *ELSEWHERE) or "sh" not in {block.language for block in found}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_and_headings_that_are_there(name: str) -> None:
    for link in LINK.findall(prose(page(name))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("name", PAGES)
def test_excerpts_are_the_files_own_words(name: str) -> None:
    for block in blocks(page(name)):
        if block.path:
            assert block.text in (ROOT / block.path).read_text(), block.path


@pytest.mark.parametrize("name", PAGES)
def test_words_of_make_and_commands_of_tandem_exist(name: str) -> None:
    made = set(re.findall(r"^([a-z0-9]+):", page("Makefile"), re.MULTILINE))
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    code = SPAN.findall(prose(page(name))) + [block.text for block in blocks(page(name)) if block.language == "sh"]
    for line in (line for text in code for line in text.splitlines()):
        match line.split():
            case ["make", *words]:
                assert {word for word in words if "=" not in word} <= made, line
            case ["tandem", word, *_]:
                assert word in commands or word.startswith("-"), line


def test_the_page_on_the_paper_goes_through_all_of_it() -> None:
    text = page("docs/paper.md")
    rows = re.findall(r"^\| ([PCR]\d) \| ", text, re.MULTILINE)
    assert rows == [f"{kind}{n}" for kind, last in (("P", 9), ("C", 9), ("R", 7)) for n in range(1, last + 1)]
    steps = re.split(r"^### (\d+)\. ", text, flags=re.MULTILINE)[1:]
    assert steps[::2] == [str(n) for n in range(1, 29)]
    for number, said in zip(steps[::2], steps[1::2], strict=True):
        bold = re.findall(r"\*\*([^*]+)\*\*", " ".join(said.split("\n## ")[0].split()))
        parts = [
            word
            for part in ("What it is", "Where", "Tool, and why", "What else would do")
            for word in bold
            if word.startswith(part)
        ]
        assert len(parts) == 4, number


def test_the_changelog_speaks_of_this_version() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', page("pyproject.toml"), re.MULTILINE)
    assert re.search(rf"^## .*{re.escape(version)}", page("CHANGELOG.md"), re.MULTILINE)


def test_the_readme_shows_the_figures_that_dvc_lock_pins() -> None:
    lock: dict[str, Any] = yaml.safe_load(page("dvc.lock"))
    evaluation = ROOT / "data" / "flights" / "reports" / "evaluation.json"
    pinned = {out["path"]: out["md5"] for out in lock["stages"]["evaluate"]["outs"]}[
        evaluation.relative_to(ROOT).as_posix()
    ]
    if not evaluation.is_file() or hashlib.md5(evaluation.read_bytes(), usedforsecurity=False).hexdigest() != pinned:
        pytest.skip("the run that dvc.lock pins is not here: `dvc repro` makes it")
    assert figures_table(ROOT / "data" / "flights").strip() in page("README.md")
