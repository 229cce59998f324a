"""Stage `tune`: a study of params on earlier rows, judged by later ones."""

from pathlib import Path

from tandem import boosting
from tandem.files import digest_of, sha256_of, write_json
from tandem.params import Params
from tandem.run import entry, operation
from tandem.settings import Settings
from tandem.tracking import tracked
from tasks import tune as verbs
from tasks.splits import read_rows, split_of


@operation
def tune(params: Params, settings: Settings) -> None:
    """Run the trials that an earlier, killed run left undone, and write all of them and the best."""
    data = settings.of(params.problem)
    rows, spec = read_rows(data / "training_set")
    study = _digest(data / "training_set", verbs.shape_of(params.tune, params.train))
    split, journal = split_of(rows, spec.names), settings.cache / "tune" / study
    with tracked(settings.tracking, experiment=params.problem, study=study) as tracker:
        done = verbs.tune(split, params.tune, params.train, journal, tracker)
    write_json(data / "tune" / "trials.json", verbs.trial_table(done).to_dicts())
    write_json(data / "tune" / "best.json", done.best.model_dump(exclude={"curve"}))


def _digest(folder: Path, shape: str) -> str:
    """Name a study by its rows, the code that runs it, and what it looks through."""
    rows = [sha256_of(path) for path in sorted(folder.iterdir())]
    code = [sha256_of(Path(str(module.__file__))) for module in (verbs, boosting)]
    return digest_of(*rows, *code, shape)


if __name__ == "__main__":
    entry(tune)
