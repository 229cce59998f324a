"""MLflow's client, whose failures are ours: where MLflow is and what it said, in a line."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    if uri.startswith(FILE):
        Path(uri.removeprefix(FILE)).parent.mkdir(parents=True, exist_ok=True)
    with told():
        return cast("MlflowClient", Told(MlflowClient(tracking_uri=uri, registry_uri=uri), told))
