"""Stage `ingest`: the pinned raw files to facts, each with the moment it became known."""

from tandem.files import write_json
from tandem.landing import Pins
from tandem.params import Params
from tandem.problem import load_problem
from tandem.run import entry, operation
from tandem.settings import Settings
from tasks.ingest import all_parts, report, write_facts, write_quarantine
from tasks.landing import landed_files


@operation
def ingest(params: Params, settings: Settings) -> None:
    """Fetch what is pinned and missing, read what is new, and write facts, quarantine and counts."""
    problem = load_problem(params.problem)
    target = settings.of(problem.name)
    landed = landed_files(Pins.load(settings.data / "sources.lock"), problem, settings.landing)
    parts = all_parts(landed, problem, settings.cache)
    write_facts(parts, problem, target / "facts")
    write_quarantine(parts, target / "quarantine")
    write_json(target / "reports" / "ingest.json", report(parts, landed, problem, target / "facts"))


if __name__ == "__main__":
    entry(ingest)
