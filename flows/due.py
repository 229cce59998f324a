"""Train as of each closed day that has come since the last, and publish each bundle: none is left out, none is twice.

A day is done once its bundle is in the registry, or a gate refused it. Killed at any moment, the next one begins with
the day that was not done: its stages are found as far as they came, and its bundle, being the same, is published once.
"""

from datetime import datetime

from flows.pipeline import pipeline
from flows.publish import publish
from tandem.bundle import Bundle
from tandem.clock import Clock, floor
from tandem.errors import GateError, StageError
from tandem.params import Params
from tandem.problem import load_problem
from tandem.registry import Registry
from tandem.run import operation
from tandem.schedule import DAY, PIPELINE, Ended, alone, days_due, ended
from tandem.settings import Settings
from tasks.progress import say


@operation
def due(settings: Settings) -> list[datetime]:
    """Give the days that it did.

    Raises:
        BusyError: another one is at it.
        GateError: a day has no bundle, for a gate failed; the days after it were done too.

    """
    refused: list[str] = []
    with alone(settings.schedule, PIPELINE):
        params = Params.load()
        problem = load_problem(params.problem)
        clock = Clock.of(problem, params, settings)
        first = floor(params.as_of if problem.replayed else clock.now(), DAY)
        last = Ended.load(settings.schedule, PIPELINE)
        until = last.until if last else None
        days = days_due(until, first, clock.now())
        for until in days:
            say(f"as of {until:%Y-%m-%d}", event="as of", as_of=until.isoformat())
            try:
                _one(until, params.problem, settings, clock)
            except StageError as exc:
                if exc.exit_code != GateError.exit_code:
                    raise
                refused.append(f"{until:%Y-%m-%d}: {exc.reason}")
            ended(settings.schedule, PIPELINE, clock.now(), until)
        ended(settings.schedule, PIPELINE, clock.now(), until)
    if refused:
        raise GateError("\n".join(["days without a bundle:", *refused]))
    return days


def _one(day: datetime, problem: str, settings: Settings, clock: Clock) -> None:
    pipeline(as_of=day)
    bundle = Bundle.open(settings.of(problem) / "bundle")
    version, proposal = publish(Registry(problem, settings, clock), bundle, settings)
    text = f"version {version.version} is bundle {version.digest[:12]}: {proposal['reason']}"
    say(text, event="published", version=version.version, digest=version.digest, proposal=proposal)
