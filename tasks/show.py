"""Facts as text for a terminal."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tandem import tables
from tandem.clock import wall_now
from tandem.graph import StageRun
from tandem.leaves import texts
from tandem.registry import State, Version
from tandem.schedule import Ended
from tandem.staleness import Study
from tandem.workspace import Place

if TYPE_CHECKING:  # numpy and polars, where nothing is to be shown of them
    from tasks.skew import Skew

FIGURES = ("auc", "average_precision", "log_loss", "brier", "ece")
MOST = 60
DIGEST = re.compile("[0-9a-f]{64}")
BAR, WIDTH = "█", 40


def run_line(done: StageRun) -> str:
    """Say what a stage came to."""
    return f"{done.name:<14}{'ran' if done.ran else 'cached':<8}{done.seconds:6.1f} s"


def figures_of(data: Path) -> dict[str, dict[str, float | None]]:
    """Return the model's figures and the baselines', on held-out time."""
    evaluation = json.loads((data / "reports" / "evaluation.json").read_text())
    models = {"model": evaluation["overall"]} | evaluation["baselines"]
    return {name: {figure: of[figure] for figure in FIGURES} for name, of in models.items()}


def figures_table(data: Path) -> str:
    """Return the model's figures beside the baselines', on held-out time."""
    evaluation = json.loads((data / "reports" / "evaluation.json").read_text())
    rows = [(name, *of.values()) for name, of in figures_of(data).items()]
    months = ", ".join(evaluation["months"])
    heading = f"\nHeld-out rows: {evaluation['overall']['rows']} ({months})"
    return f"{heading}\n{tables.plain(('', *FIGURES), rows)}"


def status_tables(states: Mapping[str, str], flows: Mapping[str, Ended | None]) -> str:
    """Return each stage's state, and when each flow last ended and up to where all is done."""
    rows = [
        (name, f"{last.wall:%Y-%m-%d %H:%M:%S}", _age(wall_now() - last.wall), str(last.until or ""))
        if last
        else (name, "never", "", "")
        for name, last in flows.items()
    ]
    return "\n\n".join(
        [
            tables.plain(("stage", "state"), list(states.items())),
            tables.plain(("flow", "last ended", "ago", "done until, in world time"), rows),
        ]
    )


def study_table(study: Study) -> str:
    """Return what each model was when it was new, how models age, and that as a picture."""
    new = [
        (
            each["as_of"][:16],
            each["digest"][:12],
            each["rows"],
            each["auc"],
            each["log_loss"],
            ", ".join(each["failing"]),
        )
        for each in study.models
    ]
    lost = [each.lost or 0.0 for each in study.ages]
    most = max(map(abs, lost), default=0.0) or 1.0
    old = [
        (
            each.weeks,
            each.models,
            each.rows,
            each.auc,
            each.newest_auc,
            each.log_loss,
            each.newest_log_loss,
            each.ece,
            f"{worse:+.4f} {BAR * round(WIDTH * max(worse, 0) / most)}",
        )
        for each, worse in zip(study.ages, lost, strict=True)
    ]
    heading = ("weeks old", "models", "rows", "auc", "newest's", "log_loss", "newest's", "ece", "log_loss lost by age")
    return "\n\n".join(
        [
            tables.plain(("as of", "bundle", "held-out rows", "auc", "log_loss", "gates it fails"), new),
            tables.plain(heading, old),
        ]
    )


def backtest_table(result: dict[str, Any]) -> str:
    """Return a backtest by month and beside the baselines."""
    rows = [("all", *_row(result["overall"]))]
    rows += [(month, *_row(of)) for month, of in result["months"].items()]
    rows += [(f"{name} (all)", *_row(of)) for name, of in result["baselines"].items()]
    return tables.plain(("", "rows", *FIGURES), rows)


def _row(of: dict[str, Any]) -> tuple[object, ...]:
    return (of["rows"], *(of[figure] for figure in FIGURES))


def doctor_report(found: list[dict[str, Any]]) -> str:
    """Return each check, and how to mend what failed."""
    rows = [("ok" if check["ok"] else "MISSING", check["name"], check["found"], check["mend"]) for check in found]
    return tables.plain(("", "", "found", "mend"), rows)


def containers_table(found: Sequence[Mapping[str, str]]) -> str:
    """Return what runs where, a container a line."""
    names = ("workspace", "container", "state", "health", "since", "revision", "published")
    return tables.plain(names, [[each[name] for name in names] for each in found])


def workspace_report(place: Place, address: str, found: Sequence[Mapping[str, str]]) -> str:
    """Return what runs in a workspace, where it answers, and where the credentials for it lie."""
    lines = [
        containers_table(found),
        "",
        f"{address}  (its authority: {place.authority})" if place.authority.is_file() else address,
        f"people:   {place.people}/<role>.<name>, each holds a password for {address}/mlflow, /prefect, /prometheus",
        f"clients:  docker exec {place.container('platform')} tandem keys add NAME --role client",
        f"commands: docker exec {place.container('platform')} tandem models",
    ]
    return "\n".join(lines)


def diff_report(result: dict[str, Any], *, markdown: bool) -> str:
    """Return what differs between two bundles, part by part."""
    draw = tables.markdown if markdown else tables.plain
    parts = [
        f"{result['bundles'][0][:12]} ({result['as_of'][0]}) and {result['bundles'][1][:12]} ({result['as_of'][1]})"
    ]
    for part in ("data", "features", "params"):
        rows = [(name, *(_short(side) for side in sides)) for name, sides in result[part].items()]
        parts.append(f"## {part}\n\n{draw((part, 'a', 'b'), rows) if rows else 'the same'}")
    rows = [(group, *_delta(sides)) for group, sides in result["figures"].items()]
    parts.append(f"## figures, b less a\n\n{draw(('', 'auc', 'change', 'log_loss', 'change', 'ece', 'change'), rows)}")
    return "\n\n".join(parts)


def _short(value: object) -> str:
    text = "" if value is None else str(value)
    if DIGEST.fullmatch(text):
        return text[:12]
    return text if len(text) <= MOST else f"{text[: MOST - 3]}..."


def _delta(sides: list[dict[str, Any] | None]) -> list[object]:
    """Give some figures of b and their change from a, where both have them."""
    cells: list[object] = []
    for name in ("auc", "log_loss", "ece"):
        a, b = (side[name] if side else None for side in sides)
        cells += [b, None if a is None or b is None else b - a]
    return cells


def models_table(versions: Sequence[Version], state: State) -> str:
    """Return each version with what it is, its figures and its age."""
    now = wall_now()
    rows = [
        (
            each.version,
            each.digest[:12],
            each.as_of.date().isoformat(),
            ", ".join(state.of(each.digest)),
            *(each.figures.get(name) for name in ("auc", "log_loss", "ece")),
            _age(now - each.created),
            f"{(each.commit or 'unknown')[:8]}{' and changes' if each.dirty else ''}",
        )
        for each in versions
    ]
    heading = ("version", "digest", "as of", "is", "auc", "log_loss", "ece", "age", "commit")
    return tables.plain(heading, rows) if rows else "no version yet: `tandem publish` makes one"


def lineage_tree(found: dict[str, Any]) -> str:
    """Return the chain behind a version, each link below the one it was made of."""
    stages: dict[str, list[str]] = {}
    for name, digest in found["stages"].items():
        stages.setdefault(name.split("/")[0], []).append(digest)
    made = [f"    {stage:<14}{_files(of)}, the first {of[0][:12]}" for stage, of in stages.items()]
    raw = [f"    {source:<14}{digest}" for source, digests in found["landing"].items() for digest in digests]
    said = [f"    {_said(event, found['bundle'])}" for event in found["said"]]
    attested = [f"    {_attested(each)}" for each in found["attested"]]
    params = [f"    {name:<32}{text}" for name, text in texts(found["params"]).items()]
    commit = f"{found['commit']}{' and changes' if found['dirty'] else ''}"
    lines = [
        f"version {found['version']}  {', '.join(found['is']) or 'takes no traffic'}",
        f"  bundle          {found['bundle']}, as of {found['as_of']}",
        f"  run             {found['run']}",
        f"  commit          {commit}",
        f"  source          {found['source'].removeprefix('sha256:')}",
        f"  lock            {found['lock']}",
        "  params",
        *params,
        "  made by stages",
        *made,
        "  landing",
        *raw,
        *(["  attested", *attested] if attested else []),
        "  said of it",
        *said,
    ]
    return "\n".join(lines)


def _files(digests: list[str]) -> str:
    return f"{len(digests)} files" if len(digests) > 1 else "1 file"


def _said(event: dict[str, Any], digest: str) -> str:
    """Tell of an event what it made of a bundle, and why."""
    became, state = "", event.get("state")
    if state:
        is_, was = _role(state, digest), _role(event["before"], digest)
        became = f", {is_} {'still ' if is_ == was else ''}in generation {state['generation']}"
    because = f": {event['reason']}" if event.get("reason") else ""
    return f"{event['wall'][:19]}  {event['event']} by {event['by']}{became}{because}"


def _role(state: dict[str, Any], digest: str) -> str:
    role = next((name for name in ("champion", "challenger", "shadow") if state[name] == digest), "without traffic")
    return f"{role} with a share of {state['share']:g}" if role == "challenger" and state["share"] else role


def _attested(said: dict[str, Any]) -> str:
    if not said["trusted"]:
        return f"{said['name']}  does not count: {said['reason']}"
    return f"{said['name']}  {said['as']} by {said['by']}, signed by {said['key']}: {said['reason']}"


def why_tree(found: dict[str, Any]) -> str:
    """Return the walk from an answer to the raw lines, each link below the one that follows from it."""
    bundle, event, snapshot = found["bundle"], found["traffic"]["event"], found["snapshot"]
    made = f", since {event['by']} said: {event.get('reason', event['event'])}" if event else ""
    said = [f"      {_said(event, bundle['digest'])}" for event in bundle["said"]]
    raw = [f"      {source:<14}{digest}" for source, digests in bundle["landing"].items() for digest in digests]
    lines = [
        f"prediction {found['id']} of {found['problem']}",
        f"  at              {found['world']} in the world, {found['wall'][:19]} by the wall",
        f"  request         {json.dumps(found['request'], ensure_ascii=False)}",
        f"  score           {found['score']!r}, threshold {found['threshold']}: {found['action']}",
        *[f"  came true       {each['label']}, known {each['known_at']}" for each in found["labels"]],
        f"  traffic         {found['variant']} of generation {found['traffic']['generation']}{made}",
        f"  snapshot        {snapshot['tick']} {snapshot['digest']}{'' if snapshot['kept'] else ', no longer kept'}",
        *[line for view in found["views"] for line in _view_lines(view)],
        f"  bundle          {bundle['digest']}, as of {bundle['as_of']}",
        f"    version       {bundle['version'] or 'was never published'}",
        f"    source        {bundle['source']}",
        f"    figures       {', '.join(f'{name} {value}' for name, value in bundle['figures'].items())}",
        f"    attested      {len(bundle['attested']) or 'nothing'}",
        "    landing",
        *raw,
        "    said of it",
        *said,
    ]
    return "\n".join(lines)


def _view_lines(view: dict[str, Any]) -> list[str]:
    key = ", ".join(f"{name} {value}" for name, value in view["key"].items())
    row = view["row"] and ", ".join(f"{name} {tables.cell(value) or '-'}" for name, value in view["row"].items())
    lines = [f"    {view['view']}: {key}", f"      {row or 'nothing is told of this key'}"]
    for facts in view["facts"]:
        counted = f"{facts['facts']} by {' and '.join(facts['by'])}" if facts["by"] else "tells nothing of this key"
        lines.append(f"      {facts['kind']:<14}{counted}")
        lines += [f"        {each['landing']} row {each['row']}, known {each['known_at']}" for each in facts["newest"]]
    return lines


def _age(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    if hours < 1:
        return f"{hours * 60:.1f} min"
    return f"{hours / 24:.1f} d" if hours >= 24 else f"{hours:.1f} h"  # noqa: PLR2004


def skew_report(found: "Skew") -> str:
    """Return what was compared, what differs and what could not be compared."""
    compared = f"{found.compared:,} of {found.records:,} predictions compared: {found.differing:,} differ"
    lines = [f"{compared}, {found.scores:,} of them in their score; scores are {found.largest:.1e} apart at most"]
    rows = [(view, name, rows) for view, features in found.features.items() for name, rows in features.items()]
    if rows:
        lines.append(tables.plain(("view", "feature", "rows that differ"), sorted(rows)))
    lines += [
        f"{each['feature']}: answered {tables.cell(each['answered'])}, offline {tables.cell(each['offline'])}, "
        f"tick {each['tick']}, request {each['request']}"
        for each in found.examples
    ]
    lines += [f"{count:,} of bundle {digest[:12]}, which is not here" for digest, count in found.other_bundles.items()]
    if found.not_yet_known:
        lines.append(f"{found.not_yet_known:,} of ticks that are not known here yet: `tandem refresh` takes facts in")
    if found.hidden:
        lines.append(f"not compared, for records hold no personal values: {', '.join(found.hidden)}")
    late = f", {found.lateness / found.stale:.0f} s on average, {found.latest:.0f} s at most" if found.stale else ""
    lines.append(f"{found.stale:,} were answered stale{late}")
    return "\n".join(lines)
