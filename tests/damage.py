"""Bundles, damaged in every way that comes to mind: each is refused before a model is touched, and nothing changes.

    python tests/damage.py data/flights/bundle 10000

A registry that gives damaged bundles is synced again and again; its audit, its state and what is served are real.
"""

import json
import os
import random
import shutil
import socket
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import tasks.sync
from flows.sync import sync
from tandem.bundle import MANIFEST, TITLE, Bundle, seal
from tandem.clock import Clock
from tandem.files import canonical_json, sha256_of
from tandem.registry import Registry, State, Version
from tandem.settings import Settings

DAY = datetime(2024, 1, 1)  # noqa: DTZ001
ENGINES = ("onnxruntime", "onnx", "xgboost")
NAMES = ["more.json", ".hidden", "model.onnx.1", "a\nb", "deep/er/more.bin", "contracts/more.json", "MODEL.ONNX"]
OUTSIDE = ["../more", "/etc/passwd", "a/../model.onnx", "./model.onnx", "", ".", "\0", "model.onnx/", "../../../x"]
WRONG: list[Any] = [None, True, -1, 1.5, 1 << 70, "", "x", [], {}, [None], {"a": None}, [[]], "sha256:" + "0" * 64]
TEXTS = [b"", b"\xff\xfe", b"null", b"[]", b"{", b"[" * 100_000, b"1" * 10_000, b"NaN", b'{"a":' * 50_000, b"\0" * 4096]

Damage = Callable[[Path, random.Random], None]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def layers(folder: Path) -> list[Path]:
    return [path for path in files(folder) if path.name != MANIFEST]


def put(path: Path, data: bytes) -> None:
    """Write a file anew: what it is a link of stays as it was."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def flip(folder: Path, draw: random.Random) -> None:
    path = draw.choice(files(folder))
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    put(path, bytes(data))


def cut(folder: Path, draw: random.Random) -> None:
    path = draw.choice(files(folder))
    put(path, path.read_bytes()[: draw.randrange(path.stat().st_size)])


def grow(folder: Path, draw: random.Random) -> None:
    path = draw.choice(files(folder))
    put(path, path.read_bytes() + draw.randbytes(draw.randrange(1, 4096)))


def swap(folder: Path, draw: random.Random) -> None:
    one, other = draw.sample(layers(folder), 2)
    data = one.read_bytes(), other.read_bytes()
    put(one, data[1])
    put(other, data[0] if data[0] != data[1] else b"other")


def add(folder: Path, draw: random.Random) -> None:
    put(folder / draw.choice(NAMES), draw.randbytes(10))


def add_no_text(folder: Path, _: random.Random) -> None:
    put(folder / os.fsdecode(b"\xff\xfe.json"), b"{}")


def remove(folder: Path, draw: random.Random) -> None:
    draw.choice(files(folder)).unlink()


def rename(folder: Path, draw: random.Random) -> None:
    path = draw.choice(files(folder))
    path.rename(path.with_name(path.name.upper()))


def link(folder: Path, draw: random.Random) -> None:
    path = draw.choice(files(folder))
    outside = folder.parent / "outside"
    put(outside, path.read_bytes())
    path.unlink()
    path.symlink_to(draw.choice([outside, Path("nowhere"), Path("/dev/zero"), Path(path.name), Path("/")]))


def link_folder(folder: Path, draw: random.Random) -> None:
    within = draw.choice([path for path in folder.rglob("*") if path.is_dir()])
    shutil.move(within, folder.parent / "outside")
    within.symlink_to(folder.parent / "outside")


def no_file(folder: Path, draw: random.Random) -> None:
    path = draw.choice(files(folder))
    path.unlink()
    match draw.randrange(3):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case _:
            with closing(socket.socket(socket.AF_UNIX)) as made:
                where = Path.cwd()
                os.chdir(path.parent)  # a socket's path is short
                made.bind(path.name)
                os.chdir(where)


def nested(folder: Path, draw: random.Random) -> None:
    within = folder.joinpath(*["d"] * draw.choice([1, 2, 40, 400]))
    within.mkdir(parents=True)
    if draw.random() < 0.5:
        put(within / "model.onnx", b"deep")


def huge(folder: Path, draw: random.Random) -> None:
    path, size = draw.choice(files(folder)), draw.choice([(1 << 30) + 1, 1 << 31])
    put(path, b"")
    with path.open("r+b") as file:
        file.truncate(size)
    if path.name != MANIFEST and draw.random() < 0.5:
        remanifested(folder, lambda named: named[path.relative_to(folder).as_posix()].update(size=size))


def remanifested(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    change({layer["annotations"][TITLE]: layer for layer in manifest["layers"]})
    put(folder / MANIFEST, canonical_json(manifest).encode())


def claimed(folder: Path, draw: random.Random) -> None:
    size = draw.choice([10**18, 1 << 62, 1 << 30, 0, -1, 1])
    remanifested(folder, lambda named: draw.choice(list(named.values())).update(size=size))


def outside(folder: Path, draw: random.Random) -> None:
    title = draw.choice(OUTSIDE)
    remanifested(folder, lambda named: draw.choice(list(named.values()))["annotations"].update({TITLE: title}))


def wrong_type(folder: Path, draw: random.Random) -> None:
    manifest: Any = json.loads((folder / MANIFEST).read_bytes())
    place: Any = manifest
    while True:
        key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.3:
            break
        place = place[key]
    value = draw.choice([value for value in WRONG if value != place[key]])
    place[key] = value
    put(folder / MANIFEST, json.dumps(manifest).encode())


def no_manifest(folder: Path, draw: random.Random) -> None:
    put(folder / MANIFEST, draw.choice([*TEXTS, draw.randbytes(2000)]))


def twice(folder: Path, draw: random.Random) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["layers"].append(draw.choice(manifest["layers"]))
    put(folder / MANIFEST, json.dumps(manifest).encode())


def sealed_anew(folder: Path, draw: random.Random) -> None:
    """Change a file and make the manifest again: all is right but the digest of the whole."""
    path = draw.choice(layers(folder))
    put(path, path.read_bytes() + b" ")
    (folder / MANIFEST).rename(folder.parent / "former")
    annotations = json.loads((folder.parent / "former").read_bytes())["annotations"]
    seal(folder, annotations)


def written_otherwise(folder: Path, _: random.Random) -> None:
    """Write the manifest in another way: what it says is the same, and its digest is not."""
    put(folder / MANIFEST, json.dumps(json.loads((folder / MANIFEST).read_bytes()), indent=1).encode())


DAMAGES: list[Damage] = [
    flip,
    cut,
    grow,
    swap,
    add,
    add_no_text,
    remove,
    rename,
    link,
    link_folder,
    no_file,
    nested,
    huge,
    claimed,
    outside,
    wrong_type,
    no_manifest,
    twice,
    sealed_anew,
    written_otherwise,
]


class Damaging(Registry):
    """A registry that holds one bundle, and gives it damaged."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        super().__init__("p", settings, Clock.stopped(DAY))
        self.bundle, self.draw = bundle, random.Random()  # noqa: S311
        self.damage: Damage = flip

    def show(self, state: State) -> None:
        """There is no MLflow."""

    def find(self, ref: str) -> Version:
        return Version(
            version=2,
            digest=ref,
            as_of=DAY,
            created=DAY,
            run="",
            commit=None,
            dirty=False,
            attested=False,
            figures={},
            proposal=None,
        )

    def download(self, version: Version, target: Path) -> None:
        assert version.digest == self.bundle.digest
        shutil.copytree(self.bundle.folder, target / "bundle", copy_function=os.link)
        self.damage(target / "bundle", self.draw)


def never(*_: object) -> None:
    msg = "a damaged bundle came to its rehearsal"
    raise AssertionError(msg)


def attack(bundle: Bundle, root: Path, count: int, seed: int) -> Counter[str]:
    """Sync a champion that is whole beside a challenger that is damaged; count what was refused, by the damage.

    Raises:
        AssertionError: it was not refused, or something changed.

    """
    settings = Settings(var=root)
    whole = root / "whole"
    shutil.copytree(bundle.folder, whole)
    digest = seal(whole, bundle.annotations | {"note": "the challenger"})
    registry = Damaging(Bundle.open(whole), settings)
    champion = settings.serving / "bundles" / bundle.digest
    shutil.copytree(bundle.folder, champion)
    registry.change("promote", registry.state(), State(champion=bundle.digest), "the first")
    assert sync(registry, settings).generation == 1
    registry.change(
        "promote", registry.state(), State(champion=bundle.digest, challenger=digest, share=0.1), "try", role="p"
    )
    served = (settings.serving / "traffic.json").read_bytes()
    done: Counter[str] = Counter()
    reasons: set[str] = set()
    for number in range(count):
        registry.draw = random.Random(seed * 1_000_003 + number)  # noqa: S311
        registry.damage = DAMAGES[number % len(DAMAGES)]
        where = f"{registry.damage.__name__}, {number}"
        start = perf_counter()
        synced = sync(registry, settings)
        assert perf_counter() - start < 10, where
        assert (synced.generation, synced.wanted) == (1, 2), where
        assert digest[:12] in synced.reason, where
        assert str(root) not in synced.reason, where
        assert (settings.serving / "traffic.json").read_bytes() == served, where
        assert os.listdir(champion.parent) == [champion.name], where  # noqa: PTH208
        reasons.add(synced.reason)
        assert synced.refused == len(reasons), where
        done[registry.damage.__name__] += 1
    told = [event for event in registry.events() if event["event"] == "refused"]
    assert {event["digest"] for event in told} == {digest}
    assert len({event["reason"] for event in told}) == len(told) == len(reasons)
    assert Bundle.open(whole).digest == digest
    assert {sha256_of(path) for path in files(champion)} == {sha256_of(path) for path in files(bundle.folder)}
    return done


def main(folder: str, count: str, seed: str = "1") -> None:
    sys.modules.update(dict.fromkeys(ENGINES))  # type: ignore[arg-type] # what is None cannot be imported
    tasks.sync.rehearse = never  # type: ignore[attr-defined,assignment]
    with TemporaryDirectory(prefix="tandem-damage-") as root:
        start = perf_counter()
        done = attack(Bundle.open(Path(folder)), Path(root), int(count), int(seed))
    for name, number in done.items():
        print(f"{name:<18}{number:>6} refused")  # noqa: T201
    print(f"{done.total()} in {perf_counter() - start:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
