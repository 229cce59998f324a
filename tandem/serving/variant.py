"""A bundle, ready to score: contract, features and model."""

from collections.abc import Sequence
from math import inf

import msgspec
import numpy as np
import onnxruntime

from tandem.bundle import Bundle
from tandem.errors import BundleError
from tandem.expressions.apart import Parsing
from tandem.serving.breaker import Breaker
from tandem.serving.contract import Contract
from tandem.vectors import Compiled, Reach

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
        reaches = [reach(known[name].get("least"), known[name].get("most")) for name in bundle.spec.names]
        self._compiled = Compiled(bundle.spec, parsing.done(), reaches)
        self.on = self._compiled.on

    def scores(self, rows: Sequence[bytes]) -> list[float]:
        """Give the probability of each row of inputs, 32-bit floats."""
        inputs = np.frombuffer(b"".join(rows), dtype=np.float32).reshape(len(rows), -1)
        scores: list[float] = self._run(["probabilities"], {"inputs": inputs})[0][:, 1].tolist()
        return scores

    def rehearse(self, count: int | None = None) -> None:
        """Answer golden requests, all or the first ones.

        Raises:
            BundleError: a score is another one.

        """
        kept = msgspec.json.decode(self.bundle.text("golden.json"), type=list[Golden])[:count]
        rows = [self._compiled.made(golden.fields, golden.views).data for golden in kept]
        for golden, score in zip(kept, self.scores(rows), strict=True):
            if not abs(golden.score - score) <= NEAR:
                msg = f"bundle {self.digest[:12]} scores {score} where {golden.score} was promised"
                raise BundleError(msg)


def reach(least: float | None, most: float | None) -> Reach:
    """Give the bounds of an input as the 32-bit floats that inputs are; no bound is none."""
    return float(np.float32(-inf if least is None else least)), float(np.float32(inf if most is None else most))
