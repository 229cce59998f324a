"""What is served: variants by role, and snapshots by tick; looked at again and again, and changed in one step."""

import logging
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from tandem.bundle import Bundle
from tandem.clock import Grid, floor
from tandem.errors import SnapshotError, TandemError, TrafficError
from tandem.serving.contract import instant
from tandem.serving.counts import Counts
from tandem.serving.refused import RETRY, Fault, Refused
from tandem.serving.traffic import BUNDLES, TRAFFIC, Role, Traffic
from tandem.serving.variant import Variant
from tandem.snapshots import Named, Snapshot, is_whole
from tandem.vectors import Lookup

log = logging.getLogger(__name__)

OPEN = 8
"""Snapshots that are mapped at a time; older ticks are asked for by replays."""
AGAIN = 10.0
"""Seconds after which a state that could not be loaded is tried again, as what it needs may be mended by then."""


class Ground(NamedTuple):
    """What a request of some moment is answered from."""

    moment: datetime
    instant: int
    digest: str
    tick: datetime
    said: str
    lateness: float
    """Seconds from the snapshot's tick to the one that was due."""
    look: Lookup


class Mark(NamedTuple):
    """What changes when a file becomes another one."""

    changed: int
    """Its content, or who may read it."""
    file: int


class Mapped(NamedTuple):
    """A snapshot, and what its file was when it was mapped."""

    snapshot: Snapshot
    mark: Mark | None


class Ticks:
    """The snapshots of a folder, by tick."""

    def __init__(self, folder: Path) -> None:
        """Look at none yet."""
        self.folder = folder
        self._named: list[Named] = []
        self._opened: OrderedDict[Path, Mapped] = OrderedDict()
        self._bad: dict[Path, Mark | None] = {}
        """Those that were damaged, each with what changes when it is made anew."""

    def look(self) -> None:
        """See which there are now; what is mapped of a file that was changed or made anew is parted with."""
        self._renew([path for path, mapped in list(self._opened.items()) if mapped.mark != _mark(path)])
        bad = self._bad
        named = [each for each in Named.all(self.folder) if each.path not in bad or bad[each.path] != _mark(each.path)]
        if named != self._named:
            self._named = named

    def due(self, moment: datetime, grid: Grid) -> tuple[Named, Snapshot] | None:
        """Give the newest that a request of a moment may use; a newer one would tell the future."""
        there = self._named
        place = bisect_right(there, moment - grid.lag, key=attrgetter("tick"))
        while place:
            named = there[place - 1]
            if found := self._opened.get(named.path) or self._open(named):
                return named, found.snapshot
            place -= 1
        return None

    def _open(self, named: Named) -> Mapped | None:
        """Map one; one that is damaged is told once, and not looked at again until it is another file."""
        mark = _mark(named.path)
        try:
            found = Mapped(Snapshot.open(named.path), mark)
        except SnapshotError as exc:
            self._leave_out(named.path, mark, exc)
            return None
        self._opened[named.path] = found
        if len(self._opened) > OPEN:
            self._opened.popitem(last=False)
        return found

    def check(self) -> None:
        """Begin anew with all that is mapped, as one of them could not be read."""
        self._renew(list(self._opened))

    def _renew(self, paths: Sequence[Path]) -> None:
        """Leave out what is damaged, map what is another file now when it is next asked for, and read the others on."""
        for path in paths:
            mapped, now, whole = self._opened.get(path), _mark(path), is_whole(path)
            if mapped and mapped.mark and whole and now and now.file == mapped.mark.file:
                mapped.snapshot.begin()
                self._opened[path] = Mapped(mapped.snapshot, now)
                continue
            if now and not whole:
                self._leave_out(path, now, f"{path} was damaged")
            self._opened.pop(path, None)
            Snapshot.forget(path)

    def _leave_out(self, path: Path, mark: Mark | None, why: object) -> None:
        log.warning("a snapshot is left out: %s", why)
        self._bad[path] = mark
        self._named = [each for each in self._named if each.path != path]


def _mark(path: Path) -> Mark | None:
    """Look at a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Mark(found.st_ctime_ns, found.st_ino)


@dataclass(frozen=True)
class Served:
    """One state of traffic, with all that it needs loaded."""

    traffic: Traffic
    champion: Variant
    challenger: Variant | None = None
    shadow: Variant | None = None
    key: tuple[int, ...] = ()
    """The places of the fields by which a request finds the same variant again."""

    @property
    def variants(self) -> Mapping[Role, Variant]:
        """The variant of each role that is taken."""
        named: dict[Role, Variant | None] = {
            "champion": self.champion,
            "challenger": self.challenger,
            "shadow": self.shadow,
        }
        return {role: variant for role, variant in named.items() if variant}


class Source:
    """Where a state comes from: what sync laid out, or one bundle's folder where nothing was ever published."""

    def __init__(self, serving: Path, folder: Path | None = None, secret: bytes = b"") -> None:
        """Load nothing yet; the secret is behind the names of what is personal."""
        self.serving, self.folder, self._secret = serving, folder, secret

    def mark(self) -> object:
        """Give what changes when traffic does."""
        if self.folder:
            return self.folder
        return _mark(self.serving / TRAFFIC)

    def load(self, before: Served | None = None) -> Served:
        """Load the state that is said now; what was loaded before is used again.

        Raises:
            TrafficError: a bundle is not there or cannot be served, or what is said makes no sense.

        """
        loaded = {v.digest: v for v in before.variants.values()} if before else {}
        if self.folder:
            bundle = Bundle.open(self.folder)
            traffic = Traffic(champion=bundle.digest)
            variants: dict[Role, Variant] = {"champion": loaded.get(bundle.digest) or self._variant(bundle)}
        else:
            found = Traffic.load(self.serving / TRAFFIC)
            if found is None:
                msg = f"{self.serving / TRAFFIC} does not exist: `tandem publish` and `tandem sync` write it"
                raise TrafficError(msg)
            traffic = found
            variants = {role: loaded.get(d) or self._laid_out(d) for role, d in traffic.digests.items()}
        champion = variants["champion"]
        for variant in variants.values():
            if variant.contract.digest != champion.contract.digest:
                msg = f"bundle {variant.digest[:12]} takes other requests than the champion {champion.digest[:12]} does"
                raise TrafficError(msg)
            if variant.grid != champion.grid:
                msg = f"bundle {variant.digest[:12]} has other ticks than the champion {champion.digest[:12]}"
                raise TrafficError(msg)
        if unknown := [name for name in traffic.key if name not in champion.contract.names]:
            msg = f"the contract has no {', '.join(unknown)}, by which traffic should be shared"
            raise TrafficError(msg)
        key = tuple(champion.contract.names.index(name) for name in traffic.key or champion.spec.keys)
        return Served(traffic, champion, variants.get("challenger"), variants.get("shadow"), key)

    def _laid_out(self, digest: str) -> Variant:
        bundle = Bundle.open(self.serving / BUNDLES / digest)
        if bundle.digest != digest:
            msg = f"{bundle.folder} holds bundle {bundle.digest[:12]}"
            raise TrafficError(msg)
        return self._variant(bundle)

    def _variant(self, bundle: Bundle) -> Variant:
        variant = Variant(bundle, self._secret)
        variant.rehearse(1)
        return variant


class Watched:
    """The state that requests are answered from."""

    def __init__(self, source: Source, snapshots: Path, counts: Counts) -> None:
        """Load it for the first time."""
        self.source, self.ticks, self._counts = source, Ticks(snapshots), counts
        self._mark = source.mark()
        self._failed: object = None
        self._again = 0.0
        self._last: tuple[datetime, Ground, datetime] | None = None
        """What was answered from last, and from when until when it is."""
        self.now = source.load()

    def look(self, moment: datetime) -> None:
        """Take up what has changed."""
        self.go_over(self.see(moment))

    def see(self, moment: datetime) -> Served | None:
        """Load what has changed, in any thread; what cannot be served leaves all as it was, and is tried again."""
        try:
            self.ticks.look()
            self.ticks.due(moment, self.now.champion.grid)  # mapped here, so that no request waits for it
            mark = self.source.mark()
            if mark == self._mark or (mark == self._failed and monotonic() < self._again):
                return None
            self._failed, self._again = mark, monotonic() + AGAIN
            found = self.source.load(self.now)
        except (TandemError, OSError) as exc:
            self._counts.add("reload_failures_total")
            log.warning("what is served stays as it was: %s", exc)
            return None
        self._mark = mark
        return found

    def go_over(self, found: Served | None) -> None:
        """Answer from what was loaded, in the thread that answers: so nothing changes in the middle of its turn."""
        self._last = None
        if found:
            self.now = found
            log.info("generation %d answers", found.traffic.generation)

    def check(self) -> None:
        """Leave out snapshots that were damaged under our eyes."""
        self._last = None
        self.ticks.check()

    def ground(self, moment: datetime, *, chosen: bool = False) -> Ground:
        """Give what a request of a moment is answered from.

        Raises:
            Refused: no snapshot is old enough.

        """
        if (last := self._last) and last[0] <= moment < last[2]:
            return last[1] if moment == last[1].moment else last[1]._replace(moment=moment, instant=instant(moment))
        grid = self.now.champion.grid
        found = self.ticks.due(moment, grid)
        if found is None:
            if chosen:
                raise Refused.of(Fault("$.at", "a moment of which something is known", moment.isoformat()))
            raise Refused(503, f"nothing is known at {moment} yet: `tandem refresh` writes what is", RETRY)
        named, snapshot = found
        due = floor(moment - grid.lag, grid.tick)
        late, said = (due - named.tick).total_seconds(), named.tick.replace(tzinfo=UTC).isoformat()
        ground = Ground(moment, instant(moment), named.digest, named.tick, said, late, snapshot.row)
        self._last = due + grid.lag, ground, due + grid.lag + grid.tick
        return ground
