"""Train as of each closed day that has come since the last, and publish each bundle: none is left out, none is twice.

A day is done once its bundle is in the registry, or a gate refused it. Killed at any moment, the next one begins with
the day that was not done: its stages are found as far as they came, and its bundle, being the same, is published once.
"""

from flows.pipeline import last_closed_day, pipeline
from flows.publish import publish
from tandem.bundle import Bundle
from tandem.clock import Clock
from tandem.errors import GateError, StageError
from tandem.params import Params
from tandem.problem import load_problem
from tandem.registry import Registry
from tandem.run import operation
from tandem.schedule import PIPELINE, Ended, alone, days_due, ended
from tandem.settings import Settings


@operation
def due(settings: Settings) -> list[str]:
    """Give the days that it did.

    Raises:
        BusyError: another one is at it.
        GateError: a day has no bundle, for a gate failed; the days after it were done too.

    """
    done: list[str] = []
    refused: list[str] = []
    with alone(settings.schedule, PIPELINE):
        params = Params.load()
        problem = load_problem(params.problem)
        clock = Clock.of(problem, params, settings)
        last = Ended.load(settings.schedule, PIPELINE)
        first = params.as_of if problem.replayed else last_closed_day()
        until = last.until if last else None
        for day in days_due(until, first, clock.now()):
            try:
                pipeline(as_of=day)
            except StageError as exc:
                if exc.exit_code != GateError.exit_code:
                    raise
                refused.append(f"{day.date()}: {exc.reason}")
            else:
                bundle = Bundle.open(settings.of(params.problem) / "bundle")
                publish(Registry(params.problem, settings, clock), bundle, settings)
            done.append(day.date().isoformat())
            until = day
            ended(settings.schedule, PIPELINE, clock.now(), until)
        ended(settings.schedule, PIPELINE, clock.now(), until)
    if refused:
        raise GateError("\n".join(["days without a bundle:", *refused]))
    return done
