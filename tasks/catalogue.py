"""The catalogue of features: what each is called, what it means, what it comes from, and what it is worth."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tandem.errors import MissingError, ProblemError
from tandem.expressions import Expression
from tandem.features import FeatureSpec
from tandem.files import made
from tandem.lineage import Lineage
from tandem.params import Params
from tandem.problem import Problem
from tandem.run import step
from tandem.tables import markdown
from tandem.views import View, ViewSpec

Facts = Mapping[str, tuple[str, ...]]
"""The kinds of fact behind each view."""
REQUEST = "request"


@dataclass(frozen=True)
class LastRun:
    """What the pipeline made of the features."""

    spec: FeatureSpec
    requests: int
    nulls: Mapping[str, float]
    importance: Mapping[str, float]


@step
def read_last_run(data: Path) -> LastRun:
    """Read what the stages wrote of the features.

    Raises:
        MissingError: they have not, or not in one run.

    """
    spec = FeatureSpec.load(data / "training_set" / "features.json")
    report = json.loads(made(data / "reports" / "training_set.json", "training_set").read_text())
    importance = json.loads(made(data / "model" / "importance.json", "train").read_text())
    if not set(spec.names) == report["nulls"].keys() == importance.keys():
        msg = f"{data}: training set and model are not of one run: `tandem run` makes them anew"
        raise MissingError(msg)
    return LastRun(spec, report["requests"], report["nulls"], importance)


@step
def facts_of(problem: Problem, spec: FeatureSpec) -> Facts:
    """Find the kinds of fact that each view's SQL reads.

    Raises:
        ProblemError: the views are not those that were run.

    """
    shared = problem.sql("macros") if (problem.folder / "macros.sql").is_file() else ""
    lineage = Lineage(problem.kinds, shared)
    found = {view.name: lineage.facts(view.sql) for view in View.load_all(problem.folder / "views")}
    if found.keys() != {view.name for view in spec.views}:
        msg = f"problems/{problem.name}/views/ changed since it was run: `tandem run` runs it again"
        raise ProblemError(msg)
    return found


def percent(share: float) -> str:
    """Return a share as a person reads it; a tenth of a percent is as fine as it says anything."""
    return f"{100 * share:.1f}%"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _figures(name: str, last: LastRun) -> tuple[str, str]:
    """Give both figures of an input; what is none has none."""
    return (percent(last.nulls[name]), percent(last.importance[name])) if name in last.importance else ("", "")


def _inputs(view: ViewSpec, last: LastRun) -> list[str]:
    return [name for name in view.values if name in last.importance]


def view_section(view: ViewSpec, facts: Facts, last: LastRun) -> str:
    """Write one view: its grain, key and facts, and a row for each value."""
    rows = [(f"`{name}`", kind, view.meanings[name], *_figures(name, last)) for name, kind in view.values.items()]
    said = f"{view.grain[0].upper()}{view.grain[1:]}. Key: {_code(view.keys)}. Facts: {_code(facts[view.name])}."
    return f"### {view.name}\n\n{said}\n\n{markdown(('name', 'type', 'meaning', 'nulls', 'importance'), rows)}"


def _behind(expression: Expression, facts: Facts, spec: FeatureSpec) -> list[str]:
    """Name the facts of the views that a request feature reads, and the request if it reads a field of it."""
    reads = set(expression.columns)
    views = [view for view in spec.views if reads & view.values.keys()]
    own = [REQUEST] if reads & spec.fields.keys() else []
    return own + list(dict.fromkeys(kind for view in views for kind in facts[view.name]))


def request_section(facts: Facts, last: LastRun) -> str:
    """Write the request features, each with the columns that it reads and the facts behind them."""
    rows = [
        (
            f"`{each.name}`",
            str(each.type),
            each.comment,
            _code(each.columns),
            _code(_behind(each, facts, last.spec)),
            *_figures(each.name, last),
        )
        for each in last.spec.request().expressions
    ]
    heading = ("name", "type", "meaning", "reads", "facts", "nulls", "importance")
    said = "One row per request, computed from its own fields and the views' values. `request` is the request itself."
    return f"## Request features\n\n{said}\n\n{markdown(heading, rows)}"


def _overview(facts: Facts, last: LastRun) -> str:
    rows = []
    for view in last.spec.views:
        inputs = _inputs(view, last)
        worth = percent(sum(last.importance[name] for name in inputs))
        rows.append((f"[{view.name}](#{view.name.replace('.', '')})", _code(facts[view.name]), len(inputs), worth))
    own = [feature.name for feature in last.spec.inputs if feature.origin == REQUEST]
    worth = percent(sum(last.importance[name] for name in own))
    rows.append(("[request features](#request-features)", "", len(own), worth))
    return markdown(("view", "facts", "inputs", "importance"), rows)


@step
def catalogue(last: LastRun, facts: Facts, params: Params) -> str:
    """Write the whole catalogue; the same run gives the same text."""
    spec = last.spec
    origin = (
        f"Made by `make features` from what `dvc repro` made; do not edit. Problem `{spec.problem}`: {spec.question} "
        f"{len(spec.names)} inputs, {last.requests} requests, as of {params.as_of:%Y-%m-%d %H:%M} UTC."
    )
    words = (
        "Nulls: share of the requests for which the value is not known. Importance: share of what all trees of the "
        "model gained. What has neither is no input: a key, or a value that request features read."
    )
    views = [view_section(view, facts, last) for view in spec.views]
    paragraphs = ["# Features", origin, words, _overview(facts, last), "## Views", *views, request_section(facts, last)]
    return "\n\n".join(paragraphs) + "\n"
