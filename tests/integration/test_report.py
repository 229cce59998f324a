"""The card in a bundle is complete, or there is no bundle; with plots it is one page that loads nothing."""

import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from conftest import Workspace
from published import opened

from flows import cli
from flows.publish import publish
from flows.report import report
from tandem.bundle import Bundle, seal
from tandem.card import SECTIONS, lint, sections
from tandem.errors import BundleError
from tandem.settings import Settings
from tandem.staleness import Aged, Study
from tandem.tables import cell
from tasks import card
from tasks.report import figure, markup, page, slices, study_page

Tandem = Callable[..., tuple[int, str, str]]
STUDY = Study(
    models=tuple({"as_of": f"2024-01-{day:02}T00:00:00"} for day in (1, 8, 15)),
    ages=(
        Aged(0, 3, 90, 0.8, 0.5, 0.01, 0.8, 0.5),
        Aged(1, 2, 60, 0.78, 0.52, 0.02, 0.8, 0.51),
        Aged(2, 1, 30, None, 0.56, 0.02, None, 0.5),
    ),
)


@pytest.fixture
def said(bundle: Bundle) -> dict[str, str]:
    return sections(bundle.text("card.md"))


@pytest.fixture
def tandem(built: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tandem:
    """Run a command in the built workspace: its exit code, output and errors."""
    monkeypatch.chdir(built.root)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tandem", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    return run


def test_the_card_in_a_bundle_is_complete(bundle: Bundle) -> None:
    assert lint(bundle.text("card.md")) == []


@pytest.mark.parametrize("title", SECTIONS)
def test_a_card_that_leaves_a_section_empty_is_no_bundles(
    title: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(card.MADE, title, lambda _: "")
    with pytest.raises(BundleError, match=f"(?m)^  {title}: "):
        card.check_card(card.model_card({}, card.Reports.read(bundle.folder)))


def test_the_stage_refuses_and_keeps_the_bundle_before(rebuilt: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rebuilt.files("bundle")
    monkeypatch.setitem(card.MADE, "Costs", lambda _: "None worth naming.")
    with pytest.raises(BundleError, match="Costs: the table by acting is missing"):
        rebuilt.run("bundle")
    assert rebuilt.files("bundle") == before


def test_the_card_says_what_the_stages_found(bundle: Bundle, said: dict[str, str]) -> None:
    found = bundle.json("reports/evaluation.json")
    for name, of in found["baselines"].items():
        assert f"| {name} | {cell(of['auc'])} |" in said["Baselines"]
    for month, of in found["months"].items():
        assert f"| {month} | {of['rows']} |" in said["By month"]
    for column, of in found["slices"].items():
        for value, figures in of["judged"].items():
            assert f"| {column} = {value} | {figures['rows']} | {cell(figures['auc'])} |" in said["By slice"]
    for of in found["fairness"]:
        assert f"| {of['column']} = {of['value']} | {of['rows']} | {cell(of['share_acted'])} |" in said["Fairness"]
    assert sum(line.startswith("| 0.") for line in said["Calibration"].splitlines()) == sum(
        of["rows"] > 0 for of in found["calibration"]
    )
    assert f"| never | {cell(found['costs']['never_a_day'])} |" in said["Costs"]
    for digest in (d for digests in bundle.json("inputs.json")["landing"].values() for d in digests):
        assert digest in said["Rebuild"]


def test_the_card_counts_what_was_landed_and_what_is_in_quarantine(bundle: Bundle, said: dict[str, str]) -> None:
    landings = bundle.json("reports/ingest.json")["sources"]["events"]["landings"].values()
    rows, bad = (sum(of["events"][what] for of in landings) for what in ("rows", "quarantined"))
    kinds = ("scanned", "delivered", "lost")
    facts, odd = (sum(of[kind][what] for of in landings for kind in kinds) for what in ("rows", "quarantined"))
    assert bad > 0
    assert f"| events | {len(landings)} | {rows} | {bad} | {facts} | {odd} |" in said["Data"]


def test_the_card_keeps_the_words_of_the_problem(said: dict[str, str]) -> None:
    assert "It is not for judging couriers." in said["Intended use"]
    assert said["Limits"].startswith("Nothing in these data ever happened.")


def test_everybody_is_treated_as_all_figures_say(bundle: Bundle, said: dict[str, str]) -> None:
    costs = bundle.json("reports/evaluation.json")["costs"]
    hit, missed = costs["true_positives"], costs["false_negatives"]
    rows = bundle.json("reports/evaluation.json")["overall"]["rows"]
    acted = (hit + costs["false_positives"]) / rows
    assert f"| all | {rows} | {cell(acted)} | {cell(hit / (hit + missed))} |" in said["Fairness"]


class Page(HTMLParser):
    """Collect what a page links to and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids |= {given["id"] or ""} if "id" in given else set()
        self.links |= {given["href"] or ""} if tag == "a" else set()
        self.loaded += [name for name in ("src", "srcset", "data", "action") if name in given]


def test_a_page_has_every_section_and_its_plots(bundle: Bundle) -> None:
    text = page(bundle)
    found = Page(text)
    names = [*SECTIONS, "Study", "Inputs"]
    assert found.ids == {name.lower().replace(" ", "-") for name in names}
    assert found.links == {f"#{name}" for name in found.ids}
    plots = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]  # noqa: S314 - our own
    assert [svg.attrib["aria-label"] for svg in plots] == [
        "AUC by month",
        "AUC by slice",
        "Share of positives by mean score",
        "Cost a day by threshold",
        "Loss by trial",
        "Inputs by importance",
    ]
    evaluation = bundle.json("reports/evaluation.json")
    judged = sum(len(column["judged"]) for column in evaluation["slices"].values())
    dots = [len(svg.findall(".//circle")) for svg in plots]
    assert dots[0] == 1 + len(evaluation["months"])
    assert dots[1] == 1 + judged
    assert dots[2] == sum(of["rows"] > 0 for of in evaluation["calibration"])
    assert dots[4] == len(bundle.json("trials.json"))


def test_every_plot_says_what_its_sides_are(bundle: Bundle) -> None:
    for text in (page(bundle), study_page(STUDY, "parcels")):
        plots = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]  # noqa: S314 - our own
        for svg in plots:
            title = str(svg.attrib["aria-label"])
            assert svg.findtext("title") == title
            labels = [label.text for label in svg.findall("text[@class='label']")]
            assert len(labels) == (2 if svg.findall("polyline") or " by trial" in title else 1), title
            assert all(labels)
            assert len(svg.findall("text")) > 2 + len(labels), "values stand along the sides"


def test_a_study_is_drawn_beside_the_newest_model_of_each_day() -> None:
    text = study_page(STUDY, "parcels")
    (loss, auc) = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]  # noqa: S314
    assert (loss.attrib["aria-label"], auc.attrib["aria-label"]) == ("log loss by age", "AUC by age")
    assert [len(str(line.attrib["points"]).split()) for line in loss.findall("polyline")] == [3, 3]
    assert [len(str(line.attrib["points"]).split()) for line in auc.findall("polyline")] == [2, 2], "what is not known"
    ours, newest = (
        [float(p.split(",")[1]) for p in line.attrib["points"].split()] for line in loss.findall("polyline")
    )
    assert ours[0] == newest[0]
    assert ours[2] < newest[2], "a larger loss stands higher"
    assert "3 models, as of 2024-01-01 to 2024-01-15" in text
    assert ">0.0600</td>" in text


@pytest.mark.parametrize("drawn", ["card", "study"])
def test_a_page_loads_nothing_and_is_light_or_dark(bundle: Bundle, drawn: str) -> None:
    text = page(bundle) if drawn == "card" else study_page(STUDY, "parcels")
    found = Page(text)
    assert {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(found.tags) == set()
    assert found.loaded == []
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_the_same_bundle_gives_the_same_page(bundle: Bundle, tmp_path: Path) -> None:
    pages = [report(bundle, tmp_path / folder / "report.html").read_bytes() for folder in ("a", "b")]
    assert pages[0] == pages[1]
    assert bundle.digest.encode() in pages[0]


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "[x](javascript:alert(1))", "<img src=x onerror=y>"])
def test_what_stands_in_the_data_is_text_on_the_page(text: str) -> None:
    found = Page(markup().render(f"| slice |\n| --- |\n| {text} |\n"))
    assert {"script", "img", "a"} & set(found.tags) == set()
    figures = {"auc": 0.5, "intervals": {"auc": [0.4, None]}}
    shown = slices({"overall": figures, "slices": {"column": {"judged": {text: figures}}}})
    assert {"script", "img", "a"} & set(Page(shown + figure("", text, text)).tags) == set()


def test_card_prints_the_bundles_card(tandem: Tandem, bundle: Bundle) -> None:
    code, out, _ = tandem("card")
    assert (code, out) == (0, bundle.text("card.md"))
    assert tandem("card", "--bundle", str(bundle.folder))[1] == out


def test_report_writes_a_page(tandem: Tandem, bundle: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    assert tandem("report", "--to", str(target))[:2] == (0, f"wrote {target}\n")
    assert target.read_text() == page(bundle)


def test_card_and_report_of_a_version_in_the_registry(
    tandem: Tandem, bundle: Bundle, tracked: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_VAR", str(tracked.var))
    monkeypatch.setenv("TANDEM_DATA", str(tracked.data))
    publish(opened(tracked), bundle, tracked)
    target = tmp_path / "report.html"
    assert tandem("card", "champion")[:2] == (0, bundle.text("card.md"))
    assert tandem("report", "1", "--to", str(target))[0] == 0
    assert target.read_text() == page(bundle)
    assert tandem("card")[0] == 1, "nothing was made here"
    assert "there is no version '7'" in tandem("card", "7")[2]


def test_a_version_or_a_folder_but_not_both(tandem: Tandem, bundle: Bundle) -> None:
    code, _, err = tandem("card", "1", "--bundle", str(bundle.folder))
    assert code == 2
    assert "not both" in err


def test_a_bundle_without_a_card_is_told(tandem: Tandem, rebuilt: Workspace) -> None:
    folder = rebuilt.data / "bundle"
    (folder / "card.md").unlink()
    seal(folder, {"tandem.as_of": "2024-04-15"})
    code, _, err = tandem("card", "--bundle", str(folder))
    assert code == 1
    assert "holds no card.md" in err
