"""Outside Prefect a step and an operation are the functions themselves."""

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import PARCELS

from tandem import log
from tandem.errors import GateError, ParamsError, StageError
from tandem.params import Params
from tandem.run import entry, operation, step
from tandem.settings import Settings

PLAIN = """
import sys
from tandem.run import operation, step
@step
def doubled(value):
    return 2 * value
@operation
def twice(value, *, more):
    return doubled(value) + doubled(more)
assert twice(1, more=2) == 6
assert not [name for name in sys.modules if name.split(".")[0] == "prefect"]
"""


@pytest.mark.parametrize("api", [None, ""])
def test_outside_prefect_they_are_plain_and_import_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, api: str | None
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    if api is not None:
        monkeypatch.setenv("PREFECT_API_URL", api)
    subprocess.run([sys.executable, "-c", PLAIN], check=True)


def test_they_keep_name_words_and_errors() -> None:
    @step
    def doubled(value: int) -> int:
        """Twice as much."""
        return 2 * value

    @operation
    def failing() -> None:
        raise ZeroDivisionError

    assert (doubled.__name__, doubled.__doc__, doubled(value=2)) == ("doubled", "Twice as much.", 4)
    with pytest.raises(ZeroDivisionError):
        failing()


@pytest.fixture
def loggers() -> Iterator[None]:
    """Leave the loggers of the layers as they were."""
    yield
    for layer in ("flows", "tasks", "tandem"):
        logging.getLogger(layer).setLevel(logging.NOTSET)


@pytest.mark.usefixtures("loggers")
@pytest.mark.parametrize(("error", "code"), [(ParamsError("wrong"), 1), (GateError("wrong"), 3)])
def test_a_stage_ends_with_the_code_of_its_error_and_one_message(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stage(params: Params, settings: Settings) -> None:
        assert (params.problem, settings) == ("parcels", Settings.load())
        raise error

    monkeypatch.chdir(PARCELS)
    with pytest.raises(SystemExit) as ended:
        entry(stage)
    assert ended.value.code == code
    assert capsys.readouterr().err == "wrong\n"


def test_a_stages_error_says_why_where_nothing_else_did() -> None:
    assert str(StageError("views", 1)).endswith("its own words stand above")
    told = StageError("views", 4, "no such file")
    assert (told.stage, told.exit_code) == ("views", 4)
    assert str(told) == "stage views failed, and what depends on it was not run: no such file"


@pytest.mark.usefixtures("loggers")
def test_a_full_disk_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("No space left on device (os error 28)", "another"):
        log.failed(logging.getLogger("flows"), RuntimeError(words), "views")
    assert capsys.readouterr().err == "No space left on device (os error 28)\nRuntimeError: another\n"
