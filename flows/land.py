"""Land a raw file: read it through its contract and map it to facts, and only then keep and pin it."""

import logging
from pathlib import Path

from tandem.landing import Pin, Pins
from tandem.params import Params
from tandem.problem import Problem, Source, load_problem
from tandem.run import operation
from tandem.schedule import in_turn
from tandem.settings import Settings
from tasks.ingest import known_days, looked_up, parts_of, refused_by
from tasks.landing import land_file, landed_files, pin_of

log = logging.getLogger(__name__)


@operation
def land(source: str, file: Path, params: Params, settings: Settings, fetch: str | None = None) -> Pin:
    """Add one file of a source to the pinned inputs; one that is not what it should be changes nothing.

    Raises:
        SourceError: the file is not what it should be, says other things than one that landed before and is looked
            up in, too, or what its facts look things up in has not landed.

    """
    problem = load_problem(params.problem)
    lock = settings.data / "sources.lock"
    declared, before = problem.source(source), _pins(lock)
    beside = landed_files(before, problem, settings.landing, declared.beside)
    pin = pin_of(file, f"{problem.name}/{source}", fetch)
    _check_agrees(declared, file, before, problem, settings)
    [part] = parts_of(declared, {pin.sha256: file}, beside, problem, settings.cache)
    known = pin.model_copy(update={"known": known_days(part)})
    with in_turn(settings.schedule, "land"):  # or of two at once one would be forgotten
        pins = _pins(lock)
        if pins != before:  # somebody else's has landed by now
            _check_agrees(declared, file, pins, problem, settings)
        land_file(file, settings.landing, pin)
        pins.with_pin(known, anew=fetch is not None).save(lock)
    for rule, count in refused_by(part).items():
        log.warning("%s: %s is broken %d times; what breaks it will be in quarantine", file, rule, count)
    return known


def _check_agrees(source: Source, file: Path, pins: Pins, problem: Problem, settings: Settings) -> None:
    """Hold a file that others are looked up in against those that landed before."""
    if pins.of(problem.name, source.name) and any(source.name in each.beside for each in problem.sources):
        looked_up(source, (*landed_files(pins, problem, settings.landing, [source.name])[source.name], file), problem)


def _pins(lock: Path) -> Pins:
    return Pins.load(lock) if lock.exists() else Pins(pins=())
