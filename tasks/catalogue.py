"""The catalogue of features: what each is called, what it means, what it comes from, and what it is worth."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tandem.errors import MissingError, ProblemError
from tandem.expressions import Expression
from tandem.features import FeatureSpec
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
class Made:
    """What the pipeline made of the features."""

    spec: FeatureSpec
    requests: int
    nulls: Mapping[str, float]
    importance: Mapping[str, float]


@step
def read_made(data: Path) -> Made:
    """Read what the stages wrote of the features.

    Raises:
        MissingError: they have not, or not in one run.

    """
    spec = FeatureSpec.load(data / "training_set" / "features.json")
    paths = [data / "reports" / "training_set.json", data / "model" / "importance.json"]
    if absent := [path for path in paths if not path.is_file()]:
        msg = f"{absent[0]} does not exist: `tandem run` makes it"
        raise MissingError(msg)
    report, importance = (json.loads(path.read_text()) for path in paths)
    if not set(spec.names) == report["nulls"].keys() == importance.keys():
        msg = f"{data}: training set and model are not of one run: `tandem run` makes them anew"
        raise MissingError(msg)
    return Made(spec, report["requests"], report["nulls"], importance)


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


def _figures(name: str, made: Made) -> tuple[str, str]:
    """Give both figures of an input; what is none has none."""
    return (percent(made.nulls[name]), percent(made.importance[name])) if name in made.importance else ("", "")


def _inputs(view: ViewSpec, made: Made) -> list[str]:
    return [name for name in view.values if name in made.importance]


def view_section(view: ViewSpec, facts: Facts, made: Made) -> str:
    """Write one view: its grain, key and facts, and a row for each value."""
    rows = [(f"`{name}`", kind, view.meanings[name], *_figures(name, made)) for name, kind in view.values.items()]
    said = f"{view.grain[0].upper()}{view.grain[1:]}. Key: {_code(view.keys)}. Facts: {_code(facts[view.name])}."
    return f"### {view.name}\n\n{said}\n\n{markdown(('name', 'type', 'meaning', 'nulls', 'importance'), rows)}"


def _behind(expression: Expression, facts: Facts, spec: FeatureSpec) -> list[str]:
    """Name the facts of the views that a request feature reads, and the request if it reads a field of it."""
    reads = set(expression.columns)
    views = [view for view in spec.views if reads & view.values.keys()]
    own = [REQUEST] if reads & spec.fields.keys() else []
    return own + list(dict.fromkeys(kind for view in views for kind in facts[view.name]))


def request_section(facts: Facts, made: Made) -> str:
    """Write the request features, each with the columns that it reads and the facts behind them."""
    rows = [
        (
            f"`{each.name}`",
            str(each.type),
            each.comment,
            _code(each.columns),
            _code(_behind(each, facts, made.spec)),
            *_figures(each.name, made),
        )
        for each in made.spec.request().expressions
    ]
    heading = ("name", "type", "meaning", "reads", "facts", "nulls", "importance")
    said = "One row per request, computed from its own fields and the views' values. `request` is the request itself."
    return f"## Request features\n\n{said}\n\n{markdown(heading, rows)}"


def _overview(facts: Facts, made: Made) -> str:
    rows = []
    for view in made.spec.views:
        inputs = _inputs(view, made)
        worth = percent(sum(made.importance[name] for name in inputs))
        rows.append((f"[{view.name}](#{view.name.replace('.', '')})", _code(facts[view.name]), len(inputs), worth))
    own = [feature.name for feature in made.spec.inputs if feature.origin == REQUEST]
    worth = percent(sum(made.importance[name] for name in own))
    rows.append(("[request features](#request-features)", "", len(own), worth))
    return markdown(("view", "facts", "inputs", "importance"), rows)


@step
def catalogue(made: Made, facts: Facts, params: Params) -> str:
    """Write the whole catalogue; the same run gives the same text."""
    spec = made.spec
    origin = (
        f"Made by `make features` from what `dvc repro` made; do not edit. Problem `{spec.problem}`: {spec.question} "
        f"{len(spec.names)} inputs, {made.requests} requests, as of {params.as_of:%Y-%m-%d %H:%M} UTC."
    )
    words = (
        "Nulls: share of the requests for which the value is not known. Importance: share of what all trees of the "
        "model gained. What has neither is no input: a key, or a value that request features read."
    )
    views = [view_section(view, facts, made) for view in spec.views]
    paragraphs = ["# Features", origin, words, _overview(facts, made), "## Views", *views, request_section(facts, made)]
    return "\n\n".join(paragraphs) + "\n"
