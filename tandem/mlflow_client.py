"""MLflow's client, whose failures are ours: where MLflow is and what it said, in a line."""

import logging
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tandem.errors import TrackerError

if TYPE_CHECKING:
    from mlflow import MlflowClient

FILE = "sqlite:///"
SECRET = re.compile(r"//[^/@]*@")
"""A name and a password, which are nobody's business."""


class Told:
    """Each call that fails is told as an error of ours."""

    def __init__(self, client: object, told: Callable[[], Any]) -> None:
        """Know whose calls they are, and what they are made inside of."""
        self._client, self._told = client, told

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Give a call of the client's."""
        call = getattr(self._client, name)

        @wraps(call)
        def called(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the client's own
            with self._told():
                return call(*args, **kwargs)

        return called


def client_at(uri: str) -> "MlflowClient":
    """Open MLflow's registry; a database that is a file is made if there is none.

    Raises:
        TrackerError: from here on by each call, where MLflow cannot be reached or refuses.

    """
    from mlflow import MlflowClient  # noqa: PLC0415 - 3 s
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    @contextmanager
    def told() -> Iterator[None]:
        try:
            yield
        except (MlflowException, SQLAlchemyError) as exc:
            said = (str(exc).strip() or type(exc).__name__).splitlines()[0]
            msg = f"MLflow at {SECRET.sub('//', uri)}: {said}"
            raise TrackerError(msg) from exc

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with told():
        make_whole(uri)
        return cast("MlflowClient", Told(MlflowClient(tracking_uri=uri, registry_uri=uri), told))


def make_whole(uri: str) -> None:
    """Make a database that is a file, if it is not there: beside its place, so that who is killed leaves no half."""
    path = Path(uri.removeprefix(FILE))
    if not uri.startswith(FILE) or path.exists():
        return
    from mlflow import MlflowClient  # noqa: PLC0415 - 3 s

    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        MlflowClient(tracking_uri=f"{FILE}{own}").search_experiments(max_results=1)
        with suppress(FileExistsError):  # another one was faster
            path.hardlink_to(own)
    finally:
        own.unlink(missing_ok=True)


def experiment_of(client: "MlflowClient", name: str, uri: str) -> str:
    """Find an experiment, or make it; its files are beside a database that is a file."""
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    database = uri.removeprefix(FILE)
    beside = Path(database).absolute().with_name("artifacts").as_uri() if database != uri else None
    return str(client.create_experiment(name, artifact_location=beside))
