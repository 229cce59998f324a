"""A bundle, ready to score: contract, features and model."""

from collections.abc import Iterator

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tandem.bundle import Bundle
from tandem.errors import BundleError
from tandem.expressions.apart import Parsing
from tandem.serving.breaker import Breaker
from tandem.serving.contract import Contract
from tandem.vectors import Vectors

Floats = NDArray[np.float32]
NEAR = 1e-6
"""How far a golden request's score may lie from the one that was written down."""


class Golden(msgspec.Struct, frozen=True):
    """A request whose score is known."""

    fields: tuple[object, ...]
    views: list[tuple[object, ...] | None]
    score: float


class Variant:
    """Scores requests as they would have been scored offline."""

    def __init__(self, bundle: Bundle, secret: bytes = b"") -> None:
        """Load all that an answer needs."""
        self.bundle, self.digest, self.spec = bundle, bundle.digest, bundle.spec
        parsing = Parsing(bundle.spec.request_sql, bundle.spec.columns)
        decision = bundle.json("decision.json")
        self.threshold: float = decision["threshold"]
        self.otherwise: str
        self.act: str
        self.otherwise, self.act = decision["actions"]
        self.contract = Contract(bundle, secret=secret)
        self.grid = bundle.spec.grid
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # two would change last bits
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False  # 3 MiB, and no faster with them
        model = (bundle.folder / "model.onnx").read_bytes()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._run = session.run
        self.breaker = Breaker()
        known = bundle.json("reference.json")["inputs"]
        bounds = [(known[name].get("least"), known[name].get("most")) for name in bundle.spec.names]
        self._least = np.array([-np.inf if least is None else least for least, _ in bounds], dtype=np.float32)
        self.vectors = Vectors(bundle.spec, parsing.done())
        self._most = np.array([np.inf if most is None else most for _, most in bounds], dtype=np.float32)

    def scores(self, inputs: Floats) -> list[float]:
        """Give the probability of each row of inputs."""
        scores: list[float] = self._run(["probabilities"], {"inputs": inputs})[0][:, 1].tolist()
        return scores

    def rehearse(self, count: int | None = None) -> None:
        """Answer golden requests, all or the first ones.

        Raises:
            BundleError: a score is another one.

        """
        kept = msgspec.json.decode(self.bundle.text("golden.json"), type=list[Golden])[:count]
        rows = [self.vectors.vector(golden.fields, golden.views) for golden in kept]
        for golden, score in zip(kept, self.scores(np.stack(rows)), strict=True):
            if not abs(golden.score - score) <= NEAR:
                msg = f"bundle {self.digest[:12]} scores {score} where {golden.score} was promised"
                raise BundleError(msg)

    def outside(self, inputs: Floats) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Name the inputs of each row that lie outside of what the model was fitted on."""
        beyond = (inputs < self._least) | (inputs > self._most)
        if beyond.any():
            for number in np.flatnonzero(beyond.any(axis=1)).tolist():
                yield number, tuple(self.spec.names[place] for place in np.flatnonzero(beyond[number]).tolist())
