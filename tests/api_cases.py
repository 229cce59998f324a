"""Requests made from the server's own OpenAPI document, right and wrong ones, against a server, and what it keeps.

python tests/api_cases.py http://127.0.0.1:8080 100000 [seed [process]]
"""

import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from kept import Kept
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OURS = "/v1/predict"
"""What its schema lets through must be answered, as the schema is the contract; others say less than they check."""


@dataclass
class Outcome:
    """What came of many cases."""

    cases: int = 0
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)


def ask(address: str, cases: int, seed: int = 0) -> Outcome:
    """Send so many requests or some more, half of them wrong, until one is answered as it should not be."""
    schema, outcome = schemathesis.openapi.from_url(f"{address}/openapi.json"), Outcome()
    operations = list(schema.get_all_operations())
    with requests.Session() as session:
        while outcome.cases < cases and not outcome.failed:
            for found in operations:
                operation = found.ok()  # type: ignore[union-attr] # raises what is wrong with it
                most = min(500, cases) // (10 if operation.method == "post" else 100)
                for mode in GenerationMode:
                    try:
                        _send(operation.as_strategy(generation_mode=mode), seed, most, session, outcome)
                    except (Failure, FailureGroup, AssertionError) as exc:
                        outcome.failed.append(f"{operation.label}, {mode}: {exc}")
            seed += 1
    return outcome


def _send(cases: SearchStrategy[Case[Any]], seed: int, most: int, session: requests.Session, outcome: Outcome) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=most, deadline=None, database=None, derandomize=False, suppress_health_check=list(HealthCheck)
    )
    @hypothesis.given(cases)
    def send(case: Case[Any]) -> None:
        told = case.call(session=session, timeout=30)
        outcome.cases += 1
        mode = GenerationMode.POSITIVE if case.meta is None else case.meta.generation.mode
        outcome.statuses[str(mode), told.status_code] += 1
        case.validate_response(told, checks=CHECKS)
        if case.path == OURS and case.media_type == "application/json" and mode is GenerationMode.POSITIVE:
            assert told.status_code == 200, f"{case.body!r}: {told.text}"

    with suppress(Unsatisfiable):  # nothing about it can be wrong
        send()


def main() -> int:
    """Ask a server that runs, and say what came of it; with its process also what that keeps."""
    address, cases, *more = sys.argv[1:]
    seed, *process = map(int, more or ["0"])
    kept = [Kept(address, each) for each in process]
    outcome = ask(address, int(cases), seed)
    told = {f"{mode} {status}": count for (mode, status), count in sorted(outcome.statuses.items())}
    sys.stdout.write(f"{outcome.cases} cases, answered {told}\n")
    sys.stdout.writelines(f"{said}\n" for said in [*kept, *outcome.failed])
    return bool(outcome.failed) or any(each.is_too_much() for each in kept)


if __name__ == "__main__":
    sys.exit(main())
