"""The report: a bundle's card with plots, or a study's plots: one page of HTML that needs nothing else."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from tandem.bundle import Bundle
from tandem.card import CARD, sections
from tandem.run import step
from tandem.staleness import Study
from tandem.svg import Axis, Range, Series, plot, ranges
from tandem.tables import cell, markdown

MOST = 20
"""Inputs that are shown."""
STYLE = Path(__file__).with_suffix(".css")
CLOSED = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing."""

Said = Mapping[str, Any]


def figure(drawn: str, caption: str, *names: str) -> str:
    """Put a plot above what it shows, with a colour for each name."""
    keys = "".join(f'<i class="s{number}"></i>{escape(name)}' for number, name in enumerate(names))
    return f"<figure>{drawn}<figcaption>{escape(caption)}{keys}</figcaption></figure>"


def calibration(said: Said) -> str:
    """Draw what came by what was said; the larger a dot, the more requests."""
    bins = [of for of in said["calibration"] if of["rows"]]
    most = max(of["rows"] for of in bins)
    came = Series(
        "model",
        [(of["mean_score"], of["share_positive"]) for of in bins],
        "dots",
        [round(2 + 7 * (of["rows"] / most) ** 0.5, 1) for of in bins],
        [f"{of['rows']} requests: {of['mean_score']:.3f} said, {of['share_positive']:.3f} came" for of in bins],
    )
    even = Series("as it should be", [(0, 0), (1, 1)], "dashed")
    axes = Axis("mean score", 0, 1), Axis("share positive", 0, 1)
    return figure(plot("Share of positives by mean score", *axes, [came, even]), "Calibration:", came.name, even.name)


def costs(said: Said) -> str:
    """Draw what acting from each threshold on costs, beside acting never and always."""
    of = said["costs"]
    curve = [(point["threshold"], point["cost_a_day"]) for point in of["curve"]]
    chosen = Series("at the threshold", [(of["threshold"], of["model_a_day"])], "dots", [5])
    by = [
        Series("by score", curve),
        chosen,
        Series("never", [(0, of["never_a_day"]), (1, of["never_a_day"])], "dashed"),
    ]
    axes = Axis("threshold", 0, 1), Axis.around("cost a day", [0, *(cost for _, cost in curve)])
    return figure(plot("Cost a day by threshold", *axes, by), "Acting:", *(each.name for each in by))


def slices(said: Said) -> str:
    """Draw the AUC of all requests and of each slice, with intervals."""
    judged = {f"{n} = {v}": of for n, column in said["slices"].items() for v, of in column["judged"].items()}
    rows = [Range(name, of["auc"], tuple(of["intervals"]["auc"])) for name, of in judged.items()]
    return _aucs("AUC by slice", [_all(said), *rows])


def months(said: Said) -> str:
    """Draw the AUC of each month."""
    return _aucs("AUC by month", [_all(said), *(Range(month, of["auc"]) for month, of in said["months"].items())])


def _all(said: Said) -> Range:
    return Range("all", said["overall"]["auc"], tuple(said["overall"]["intervals"]["auc"]))


def _aucs(title: str, rows: list[Range]) -> str:
    axis = Axis.around("AUC", (end for row in rows for end in (row.value, *row.ends)))
    return figure(ranges(title, axis, rows), f"{title}; a line is the interval of 95 %.")


def study(trials: list[dict[str, Any]]) -> str:
    """Draw each trial's loss."""
    states = dict.fromkeys(trial["state"] for trial in trials)
    by = [
        Series(
            state, [(t["number"], t["loss"]) for t in trials if t["state"] == state and t["loss"] is not None], "dots"
        )
        for state in states
    ]
    points = [point for each in by for point in each.points]
    axes = Axis.around("trial", (x for x, _ in points)), Axis.around("log loss, stop part", (y for _, y in points))
    return figure(plot("Loss by trial", *axes, by), "Trials:", *states)


def inputs(importance: Mapping[str, float]) -> str:
    """Draw the inputs that the trees gained most by."""
    most = sorted(importance.items(), key=lambda each: (-each[1], each[0]))
    rows = [Range(name, worth) for name, worth in islice(most, MOST)]
    axis = Axis("share of the gain", 0, max(worth for _, worth in most) or 1)
    return figure(
        ranges("Inputs by importance", axis, rows, bars=True), f"The first {len(rows)} of {len(most)} inputs."
    )


PLOTS: Mapping[str, Callable[[Said], str]] = {
    "Calibration": calibration,
    "Costs": costs,
    "By slice": slices,
    "By month": months,
}
"""The plots of the card's sections."""


def markup() -> MarkdownIt:
    """Make a reader of Markdown that lets no HTML through, and lets wide tables scroll by themselves."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.add_render_rule("table_open", lambda *_: '<div class="wide"><table>\n')
    reader.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return reader


def section(title: str, drawn: str, body: str) -> str:
    """Put a plot between a section's words and its tables."""
    words, table, tables = body.partition('<div class="wide">')
    return f'<section id="{_slug(title)}">\n<h2>{escape(title)}</h2>\n{words}{drawn}{table}{tables}</section>'


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")


def headline(said: Said) -> str:
    """Show the few figures that are asked for first."""
    passed = sum(gate["verdict"] == "pass" for gate in said["gates"])
    spans = {name: " to ".join(map(cell, said["overall"]["intervals"][name])) for name in ("auc", "log_loss", "ece")}
    tiles = [
        *((label, cell(said["overall"][name]), spans[name]) for name, label in SHOWN.items()),
        ("worth a day", f"{said['costs']['value_a_day']:.2f}", "in the costs' unit"),
        ("gates passed", f"{passed} of {len(said['gates'])}", ""),
    ]
    shown = (f"<div><dt>{a}</dt><dd>{b}<small>{c}</small></dd></div>" for a, b, c in tiles)
    return f"<dl>{''.join(shown)}</dl>"


SHOWN = {"auc": "AUC", "log_loss": "log loss", "ece": "calibration error"}


def _parts(bundle: Bundle) -> Iterator[tuple[str, str]]:
    said, reader = bundle.json("reports/evaluation.json"), markup()
    for title, body in sections(bundle.text(CARD)).items():
        yield title, section(title, PLOTS[title](said) if title in PLOTS else "", reader.render(body))
    yield "Study", section("Study", study(bundle.json("trials.json")), "<p>The trials behind the parameters.</p>")
    yield "Inputs", section("Inputs", inputs(bundle.json("importance.json")), "<p>What the model goes by.</p>")


@step
def page(bundle: Bundle) -> str:
    """Write the page; the same bundle gives the same one."""
    parts, spec = dict(_parts(bundle)), bundle.spec
    links = "".join(f'<a href="#{_slug(title)}">{escape(title)}</a>' for title in parts)
    made = f"{escape(spec.question)} Made of what was known before {bundle.as_of} UTC."
    head = f"<p>{made}</p>\n{headline(bundle.json('reports/evaluation.json'))}\n<nav>{links}</nav>"
    said = f"Bundle <code>{bundle.digest}</code>"
    return _whole(f"{spec.problem} {bundle.digest[:12]}", f"Model card: {spec.problem}", head, parts.values(), said)


@step
def study_page(study: Study, problem: str) -> str:
    """Write a page of how models age: the plots, and the figures below them."""
    days = [str(model["as_of"])[:10] for model in study.models]
    head = f"<p>{len(days)} models, as of {days[0]} to {days[-1]}, judged by what came later.</p>"
    heads = ("weeks old", "models", "rows", "AUC", "log loss", "log loss of the newest", "lost")
    rows = [(e.weeks, e.models, e.rows, e.auc, e.log_loss, e.newest_log_loss, e.lost) for e in study.ages]
    parts = [
        section("Log loss by age", _by_age(study, "log_loss", "log loss"), markup().render(markdown(heads, rows))),
        section("AUC by age", _by_age(study, "auc", "AUC"), ""),
    ]
    return _whole(f"{problem}: a study", f"How models age: {problem}", head, parts, "The newest are on the same rows.")


def _by_age(study: Study, name: str, label: str) -> str:
    def points(of: str) -> list[tuple[float, float]]:
        return [(each.weeks, value) for each in study.ages if (value := getattr(each, of)) is not None]

    by = [
        Series("models of that age", points(name)),
        Series("the newest of each day", points(f"newest_{name}"), "dashed"),
    ]
    places = [point for series in by for point in series.points]
    axes = Axis.around("weeks old", (x for x, _ in places)), Axis.around(label, (y for _, y in places))
    return figure(plot(f"{label} by age", *axes, by), f"{label}:", *(each.name for each in by))


def _whole(title: str, heading: str, head: str, parts: Iterable[str], foot: str) -> str:
    """Put a page together that a browser needs nothing else for."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{CLOSED}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{STYLE.read_text()}</style>\n</head>\n<body>",
            f"<header>\n<h1>{escape(heading)}</h1>\n{head}\n</header>\n<main>",
            *parts,
            f"</main>\n<footer>{foot}</footer>\n</body>\n</html>\n",
        ]
    )
