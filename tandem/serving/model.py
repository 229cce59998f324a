"""A bundle and a snapshot, ready to score."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import onnxruntime

from tandem.bundle import Bundle
from tandem.serving.requests import Decoder, instant
from tandem.snapshots import Snapshot
from tandem.vectors import Values, Vectors


class Model:
    """Scores requests as they would have been scored offline at the snapshot's tick."""

    def __init__(self, bundle: Bundle, snapshot: Snapshot, moment: datetime) -> None:
        """Load all that an answer needs."""
        self.digest = bundle.digest
        self.tick = snapshot.tick.replace(tzinfo=UTC).isoformat()
        self.threshold: float = bundle.json("decision.json")["threshold"]
        self.actions: list[str] = bundle.json("decision.json")["actions"]
        self.decode = Decoder(bundle)
        self._moment, self._row, self._vectors = instant(moment), snapshot.row, Vectors(bundle.spec)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # two would change last bits
        model = (bundle.folder / "model.onnx").read_bytes()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def scores(self, requests: Sequence[Values]) -> list[float]:
        """Give the probability of each request."""
        rows = np.stack([self._vectors.of((*fields, self._moment), self._row) for fields in requests])
        scores: list[float] = self._session.run(["probabilities"], {"inputs": rows})[0][:, 1].tolist()
        return scores
