"""Pages of docs, read as their readers do: prose, and blocks of which some are run."""

import re
from dataclasses import dataclass

from conftest import ROOT

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """What stands between two fences; `path` where it is an excerpt of a file."""

    language: str
    path: str
    text: str


def blocks(text: str) -> list[Block]:
    found = [(info.split(), body) for info, body in FENCE.findall(text)]
    return [Block(" ".join(info[:1]), " ".join(info[1:]), body) for info, body in found]


def page(name: str) -> str:
    return (ROOT / name).read_text()
