"""What a bundle says of itself."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.shared import BundleOption, JsonOption, VersionArgument, chosen, group, read, say, say_json

app = group()

REPORT = Path("build/report.html")


@app.command()
def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A bundle's folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one's.")],
    *,
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a review.")] = False,
) -> None:
    """Compare two bundles.

    Data, features, params, and figures by slice.

    Example: tandem diff old/bundle new/bundle --markdown
    """
    from flows.diff import diff as flow  # noqa: PLC0415
    from tasks.show import diff_report  # noqa: PLC0415

    result = flow(a, b)
    say_json(result) if as_json else say(diff_report(result, markdown=markdown))


@app.command()
def card(version: VersionArgument = None, bundle: BundleOption = None) -> None:
    """Print a model's card.

    Data, intended use, limits, figures by slice and month, baselines, calibration, costs, fairness, how to rebuild.

    Example: tandem card champion
    """
    from tandem.card import CARD  # noqa: PLC0415

    with chosen(version, bundle) as found:
        say(found.text(CARD).rstrip())


@app.command()
def report(
    version: VersionArgument = None,
    bundle: BundleOption = None,
    target: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write it.")] = REPORT,
) -> None:
    """Write a model's card with plots, as a page for a browser.

    One file of HTML that loads nothing else.

    Example: tandem report --to report.html
    """
    from flows.report import report as flow  # noqa: PLC0415

    with chosen(version, bundle) as found:
        say(f"wrote {flow(found, target)}")


@app.command()
def features(
    target: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write it.")] = Path("docs/features.md"),
) -> None:
    """Write the catalogue of features.

    Name, type, meaning, view, facts, share of nulls and importance of each, as the last run made them.

    Example: tandem features --to features.md
    """
    from flows.catalogue import catalogue as flow  # noqa: PLC0415

    params, settings = read()
    say(f"wrote {flow(params, settings, target)}")
