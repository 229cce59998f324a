"""What is remembered: labels are taken in, and records given out."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tandem.clock import naive
from tandem.errors import LedgerError
from tandem.serving.contract import FAULTS, fault_of, shown
from tandem.serving.http import FORM, JSON_KIND, Call, Reply, Route, encode
from tandem.serving.memory import Memory
from tandem.serving.records import Label, find
from tandem.serving.refused import REQUIRED, RETRY, Fault, Refused
from tandem.serving.service import Service
from tandem.serving.variant import Variant


class Told(msgspec.Struct, forbid_unknown_fields=True):
    """What a client says came true."""

    label: bool
    id: str | None = None
    """The prediction's,"""
    keys: dict[str, Any] | None = None
    """or the request's own."""
    known_at: datetime | None = None


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """Labels of one request, each still to be held against what it should be."""

    labels: list[Any]


AHEAD = timedelta(minutes=5)
"""How far a client's clock may be ahead of ours."""
TYPES: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(Told)}


class Remembered:
    """Labels and records by JSON."""

    def __init__(self, service: Service, memory: Memory) -> None:
        """Answer by a service, and remember as it does."""
        self._service, self._memory = service, memory
        self._decode = msgspec.json.Decoder(Body).decode

    def routes(self) -> list[Route]:
        """Name what it answers."""
        return [
            Route("POST", "/v1/feedback", self.feedback, "feedback", "predict", costly=True),
            Route("GET", "/v1/predictions/{id}", self.record, "record", "records", costly=True),
        ]

    async def feedback(self, call: Call) -> Reply:
        """Take labels in: all of a body or none; which one holds is decided when they are read."""
        call.must_be(JSON_KIND, FORM)
        if self._memory.durability == "off":
            raise Refused(503, "nothing is remembered here (setting durability)")
        given = self._read(await self._service.body(call))
        loop = asyncio.get_running_loop()
        labels = await loop.run_in_executor(None, self._labels, given, call.request_id)
        try:
            self._memory.append(labels)
            await self._safe()
        except LedgerError as exc:
            self._service.counts.add("unrecorded_total", by=len(labels))
            raise Refused(503, f"the labels cannot be recorded: {exc}", RETRY) from exc
        self._service.counts.add("labels_total", by=len(labels))
        return Reply(encode({"taken": len(labels)}))

    async def record(self, call: Call) -> Reply:
        """Give the record of a prediction, whoever answered it."""
        name = call.parts["id"]
        try:
            row = await asyncio.get_running_loop().run_in_executor(None, self._find, name)
        except LedgerError as exc:
            raise Refused(503, f"the record cannot be read: {exc}") from exc
        if row is None:
            raise Refused(404, f"there is no record of a prediction {name[:64]!r}")
        return Reply(encode(row))

    def _read(self, body: bytes) -> list[Any]:
        try:
            labels = self._decode(body).labels
        except msgspec.ValidationError as exc:
            expected, _, where = str(exc).partition(" - at ")
            raise Refused.of(Fault(where.strip("`") or "$", expected)) from exc
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Refused(400, f"the body is not JSON: {exc}") from exc
        most = self._service.limits.rows
        if not 0 < len(labels) <= most:
            raise Refused.of(Fault("$.labels", f"1 to {most} labels", str(len(labels))))
        return labels

    def _labels(self, given: list[Any], request_id: str | None) -> list[Label]:
        """Hold labels against what they should be.

        Raises:
            Refused: one is something else, or of a prediction that is not there.

        """
        champion, faults, labels = self._service.champion, list[Fault](), list[Label]()
        world, wall = self._service.core.now(), datetime.now(UTC)
        newest = max(naive(world), naive(wall)) + AHEAD
        for number, row in enumerate(given):
            if found := list(self._faults(row, f"$.labels[{number}]", champion, newest)):
                faults += found
                if len(faults) >= FAULTS:
                    break
                continue
            told = msgspec.convert(row, Told)
            own, read = told.keys, champion.contract.told
            labels.append(
                Label(
                    world=world,
                    wall=wall,
                    problem=champion.spec.problem,
                    label=told.label,
                    prediction=told.id,
                    keys=None if own is None else {name: read(name, own[name]) for name in champion.spec.keys},
                    known_at=_plain(told.known_at),
                    request_id=request_id,
                )
            )
        if faults:
            raise Refused.of(*faults[:FAULTS])
        return labels

    def _faults(self, row: Any, path: str, champion: Variant, newest: datetime) -> Iterator[Fault]:  # noqa: ANN401
        if not isinstance(row, dict):
            yield Fault(path, "an object with a label, and with an id or keys", shown(row))
            return
        if bad := list(_faults_of_form(row, path)):
            yield from bad
            return
        known = _plain(msgspec.convert(row, Told).known_at)
        if known and known > newest:  # it would hold for ever against all that is told later
            told = "a moment that has come, by the world's clock or the wall's"
            yield Fault(f"{path}.known_at", told, shown(row["known_at"]))
        name, own = row.get("id"), row.get("keys")
        if (name is None) == (own is None):
            yield Fault(path, "the id of a prediction or the keys of its request", "both" if name else "neither")
        elif own is not None:
            champion.contract.settle([own])
            yield from _faults_of_keys(own, f"{path}.keys", champion)
        elif self._find(str(name)) is None:
            yield Fault(f"{path}.id", "the id of a prediction that was answered here", shown(name))

    def _find(self, name: str) -> dict[str, Any] | None:
        row = find(self._memory.records.folder, name)
        return row if row and row["kind"] == "prediction" else None

    async def _safe(self) -> None:
        """Wait until what was appended last is safe.

        Raises:
            LedgerError: the disk did not take it.

        """
        safe = asyncio.get_running_loop().create_future()

        def deliver(error: LedgerError | None) -> None:
            if safe.done():  # the client has left
                return
            if error:
                safe.set_exception(error)
            else:
                safe.set_result(None)

        self._memory.when_safe(deliver)
        await safe


def _faults_of_form(row: dict[str, Any], path: str) -> Iterator[Fault]:
    for name, value in row.items():
        if name not in TYPES:
            yield Fault(f"{path}.{name[:64]}", f"one of {', '.join(TYPES)}", "an unknown field")
        elif fault := fault_of(value, TYPES[name]):
            yield Fault(f"{path}.{name}", fault, shown(value))
    if "label" not in row:
        yield Fault(f"{path}.label", REQUIRED, "nothing")


def _faults_of_keys(own: dict[str, Any], path: str, champion: Variant) -> Iterator[Fault]:
    keys, types = champion.spec.keys, champion.contract.types
    for name in keys:
        if name not in own:
            yield Fault(f"{path}.{name}", "a value: the key is required", "nothing")
        elif fault := fault_of(own[name], types[name]):
            yield Fault(f"{path}.{name}", fault, shown(own[name]))
    for name in own:
        if name not in keys:
            yield Fault(f"{path}.{name[:64]}", f"one of {', '.join(keys)}", "an unknown key")


def _plain(moment: datetime | None) -> datetime | None:
    """Give a moment as all instants are: UTC, and naive; at the ends of time a zone may lead out of it."""
    if moment is None or moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        return moment.replace(tzinfo=None)
