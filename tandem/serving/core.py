"""Answers instances: finds variant and snapshot, makes inputs, scores, records, and only then answers.

All that came in one turn of the event loop is scored in one run of the model and recorded in one write: so what costs
the same for one row as for eight is paid once, and no request waits for a timer.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby, islice
from math import isfinite, nan
from operator import attrgetter
from time import perf_counter_ns

import msgspec

from tandem.errors import LedgerError, SnapshotError, TandemError
from tandem.serving.contract import Instance
from tandem.serving.counts import Counts
from tandem.serving.memory import Memory
from tandem.serving.records import Prediction
from tandem.serving.refused import RETRY, Fault, Refused
from tandem.serving.served import Ground, Served, Watched
from tandem.serving.shadow import Shadowing, Waiting
from tandem.serving.traffic import Role
from tandem.serving.variant import Variant
from tandem.vectors import Made, Names, Values

Told = Names | msgspec.UnsetType
Clock = Callable[[], datetime]
log = logging.getLogger(__name__)

PART = 500
"""Rows that are scored without letting others in between: some 10 ms."""


class Answer(msgspec.Struct):
    """What a client is told of one instance."""

    id: str
    score: float
    threshold: float
    action: str
    variant: str
    bundle: str
    tick: str
    stale: bool
    lateness: float | msgspec.UnsetType = msgspec.UNSET
    """Seconds by which its knowledge is older than it should be."""
    unknown: Told = msgspec.UNSET
    """Views in which its key was never seen."""
    out_of_range: Told = msgspec.UNSET
    """Inputs outside of what the model was fitted on."""


class Row:
    """One instance on its way."""

    __slots__ = ("fallback", "fields", "ground", "instance", "made", "role", "score", "variant")

    def __init__(self, instance: Instance, fields: Values, ground: Ground, champion: Variant) -> None:
        """Prepare it for the champion; ArithmeticError says that a value is out of reach."""
        self.instance, self.fields, self.ground = instance, fields, ground
        self.role: Role = "champion"
        self.variant, self.made = champion, champion.on(ground.look).made(fields)
        self.score = nan
        self.fallback: tuple[Variant, Made] | None = None
        """The champion and its inputs, while the challenger has the row."""

    @property
    def action(self) -> str:
        """What follows from the score."""
        return self.variant.act if self.score >= self.variant.threshold else self.variant.otherwise

    def challenge(self, challenger: Variant) -> None:
        """Prepare it for the challenger; or raise, and leave it to the champion."""
        made = challenger.on(self.ground.look).made(self.fields)
        self.fallback = self.variant, self.made
        self.role, self.variant, self.made = "challenger", challenger, made

    def fall_back(self) -> None:
        """Let the champion answer after all."""
        if self.fallback:
            self.variant, self.made = self.fallback
            self.role, self.fallback = "champion", None


class Asked:
    """One request on its way, or a part of it."""

    __slots__ = ("answer", "at", "chosen", "instances", "request_id", "rows", "served", "start")

    def __init__(
        self, served: Served, instances: Sequence[Instance], at: datetime | None, request_id: str | None
    ) -> None:
        """Wait for the next turn of the loop, to be answered from the state by whose contract it was read."""
        self.served, self.instances, self.at, self.chosen = served, instances, at, at is not None
        self.request_id, self.start = request_id, 0
        self.rows: list[Row] = []
        self.answer: asyncio.Future[list[Answer]]


class Core:
    """Answers for one worker."""

    def __init__(self, watched: Watched, now: Clock, memory: Memory, counts: Counts) -> None:
        """Answer from what is watched, at the world's time."""
        self.watched, self.now, self._memory, self._counts = watched, now, memory, counts
        self._asked: list[Asked] = []
        self._loop = asyncio.get_running_loop()
        self._shadow = Shadowing(memory, counts, lambda: bool(self._asked))

    @property
    def waiting(self) -> int:
        """How many answers wait for the disk."""
        return self._memory.waiting

    @property
    def shadowing(self) -> int:
        """How many instances wait for the shadow."""
        return self._shadow.waiting

    async def answer(
        self, instances: Sequence[Instance], at: datetime | None = None, request_id: str | None = None
    ) -> list[Answer]:
        """Answer together with all that came in this turn of the loop; many rows in parts, to let others in between.

        Raises:
            Refused: a value is out of reach, nothing is known yet, or the answer cannot be recorded.

        """
        served = self.watched.now
        if len(instances) <= PART:
            return await self._ask(Asked(served, instances, at, request_id))
        now, answers = at or self.now(), list[Answer]()
        for start in range(0, len(instances), PART):
            part = Asked(served, instances[start : start + PART], now, request_id)
            part.start, part.chosen = start, at is not None  # one moment for all, whoever said it
            answers += await self._ask(part)
        return answers

    def scored(self, instances: Sequence[Instance], at: datetime | None = None) -> list[Row]:
        """Score by the champion what is not an answer, and so is not recorded.

        Raises:
            Refused: a value is out of reach, or nothing is known yet.

        """
        alone = Asked(replace(self.watched.now, challenger=None), instances, at, None)
        try:
            rows = self._rows(alone, self.watched.ground(at or self.now(), chosen=bool(at)))
        except SnapshotError:
            self.watched.check()
            rows = self._rows(alone, self.watched.ground(at or self.now(), chosen=bool(at)))
        _compute(rows, alone.served.champion)
        return rows

    def _ask(self, asked: "Asked") -> "asyncio.Future[list[Answer]]":
        if not self._asked:
            self._loop.call_soon(self._answer_all)
        asked.answer = self._loop.create_future()
        self._asked.append(asked)
        return asked.answer

    def _answer_all(self) -> None:
        asked, self._asked = self._asked, []
        for served, several in groupby(asked, attrgetter("served")):  # one, but in the turn in which it changes
            group = list(several)
            try:
                self._answer_or_again(group, served)
            except TandemError as exc:
                _refuse(group, Refused(503, str(exc), RETRY))
            except Exception as exc:  # nobody may wait for ever
                log.exception("a group of requests failed")
                _refuse(group, Refused(500, f"the model failed: {exc}"))

    def _answer_or_again(self, asked: list[Asked], served: Served) -> None:
        """Answer; from a snapshot that can be read, an older one perhaps, if one was damaged under our eyes."""
        try:
            self._answer_group(asked, served)
        except SnapshotError:
            self.watched.check()
            self._answer_group(asked, served)

    def _answer_group(self, asked: list[Asked], served: Served) -> None:
        start, ready, current = perf_counter_ns(), list[Asked](), None
        for each in asked:
            try:
                if each.at:
                    ground = self.watched.ground(each.at, chosen=each.chosen)
                else:
                    ground = current = current or self.watched.ground(self.now())
                each.rows = self._rows(each, ground)
            except Refused as exc:
                _refuse([each], exc)
            else:
                ready.append(each)
        if rows := [row for each in ready for row in each.rows]:
            self._score(rows, served, start)
            self._record(ready, served, (perf_counter_ns() - start) / 1000 / len(rows))

    def _rows(self, asked: Asked, ground: Ground) -> list[Row]:
        """Make the inputs of a request's instances.

        Raises:
            Refused: a value is out of their reach.

        """
        served, rows = asked.served, []
        champion, values = served.champion, served.champion.contract.values
        for number, instance in enumerate(asked.instances, asked.start):
            try:
                row = Row(instance, values(instance, ground.instant), ground, champion)
            except ArithmeticError as exc:
                fault = Fault(f"$.instances[{number}]", "values that the features can take", str(exc))
                raise Refused(422, f"{fault.path}: {exc}", faults=[fault]) from exc
            if served.challenger:
                self._challenge(row, served, served.challenger)
            rows.append(row)
        return rows

    def _challenge(self, row: Row, served: Served, challenger: Variant) -> None:
        """Prepare for the challenger what is its share; not while it fails."""
        if not served.traffic.challenged([row.fields[place] for place in served.key]):
            return
        if challenger.breaker.closed():
            try:
                row.challenge(challenger)
            except Exception as exc:  # noqa: BLE001 - whatever it is, the champion answers
                self._failed(challenger, exc)

    def _failed(self, challenger: Variant, why: object) -> None:
        challenger.breaker.failed(why)
        self._counts.add("failures_total", "challenger")

    def _score(self, rows: list[Row], served: Served, start: int) -> None:
        """Score each row by its variant; where the challenger fails the champion answers."""
        if served.challenger and (challenged := [row for row in rows if row.role == "challenger"]):
            self._score_challenged(challenged, served.challenger, start)
            for row in challenged:
                if not isfinite(row.score):
                    row.fall_back()
            rows = [row for row in rows if row.role == "champion"]
        if rows:
            self._run(rows, served.champion, start)
            if not all(isfinite(row.score) for row in rows):
                msg = f"bundle {served.champion.digest[:12]} gave a score that is no number"
                raise ArithmeticError(msg)

    def _score_challenged(self, rows: list[Row], challenger: Variant, start: int) -> None:
        try:
            self._run(rows, challenger, start)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the champion answers
            self._failed(challenger, exc)
        else:
            if bad := sum(not isfinite(row.score) for row in rows):
                self._failed(challenger, f"{bad} scores are no numbers")
            else:
                challenger.breaker.worked()

    def _run(self, rows: list[Row], variant: Variant, start: int) -> None:
        """Run the model once for all of some rows, which began to be answered at a time in nanoseconds."""
        scores = _compute(rows, variant)
        nulls = 0
        for row in rows:
            nulls += row.made.nulls
            for view in row.made.unknown:
                self._counts.add("unknown_keys_total", view)
            for name in row.made.outside:
                self._counts.add("out_of_range_total", name)
        self._counts.scored(rows[0].role, scores, nulls, (perf_counter_ns() - start) / 1e9 / len(rows))

    def _record(self, asked: list[Asked], served: Served, took: float) -> None:
        """Write down what is answered, and answer once that is safe."""
        wall, generation, problem = datetime.now(UTC), served.traffic.generation, served.champion.spec.problem
        contract = served.champion.contract
        if late := sum(row.ground.lateness > 0 for each in asked for row in each.rows):
            self._counts.add("stale_total", by=late)
        records = [
            Prediction(
                world=row.ground.moment,
                wall=wall,
                problem=problem,
                request=contract.recorded(row.instance),
                features=row.made.data,
                score=row.score,
                action=row.action,
                variant=row.role,
                bundle=row.variant.digest,
                snapshot=row.ground.digest,
                tick=row.ground.tick,
                generation=generation,
                contract=contract.digest,
                microseconds=took,
                stale=row.ground.lateness > 0,
                unknown=row.made.unknown,
                request_id=each.request_id,
            )
            for each in asked
            for row in each.rows
        ]
        try:
            ids = self._memory.append(records)
        except LedgerError as exc:
            self._deliver(asked, [], exc)
        else:
            self._memory.when_safe(partial(self._deliver, asked, ids))
            if served.shadow:
                rows = (row for each in asked for row in each.rows)
                waiting = [Waiting(n, r.fields, r.ground, served.shadow) for n, r in zip(ids, rows, strict=True)]
                self._shadow.add(waiting)

    def _deliver(self, asked: list[Asked], ids: Sequence[str], error: LedgerError | None) -> None:
        """Tell each request its answers, or that they could not be recorded."""
        numbers = iter(ids)
        for each in asked:
            own = list(islice(numbers, len(each.rows)))
            if each.answer.done():  # the client has left
                continue
            if error:
                self._counts.add("unrecorded_total", by=len(each.rows))
                each.answer.set_exception(Refused(503, f"the answer cannot be recorded: {error}", RETRY))
            else:
                each.answer.set_result([_told(row, name) for row, name in zip(each.rows, own, strict=True)])


def _refuse(asked: list[Asked], why: Refused) -> None:
    for each in asked:
        if not each.answer.done():
            each.answer.set_exception(why)


def _compute(rows: list[Row], variant: Variant) -> list[float]:
    scores = variant.scores([row.made.data for row in rows])
    for row, score in zip(rows, scores, strict=True):
        row.score = score
    return scores


def _told(row: Row, name: str) -> Answer:
    ground, variant, late = row.ground, row.variant, row.ground.lateness
    return Answer(
        name,
        row.score,
        variant.threshold,
        row.action,
        row.role,
        variant.digest,
        ground.said,
        late > 0,
        late or msgspec.UNSET,
        row.made.unknown or msgspec.UNSET,
        row.made.outside or msgspec.UNSET,
    )
