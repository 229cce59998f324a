"""Score the same rows as a worker does and do nothing else: rows a second, which no server of this model can pass.

Example: python benchmarks/model_alone.py data/flights/bundle 100
"""

import sys
from array import array
from math import nan
from pathlib import Path
from time import perf_counter

from tandem.bundle import Bundle
from tandem.serving.variant import Variant

SECONDS = 1.0


def main() -> None:
    """Score for a second."""
    bundle, rows = Bundle.open(Path(sys.argv[1])), int(sys.argv[2])
    inputs = [nan if value is None else value for value in bundle.json("golden.json")[0]["inputs"]]
    scores, data, scored = Variant(bundle).scores, [array("f", inputs).tobytes()] * rows, 0
    scores(data)
    start = perf_counter()
    while (took := perf_counter() - start) < SECONDS:
        scores(data)
        scored += rows
    print(scored / took)


if __name__ == "__main__":
    main()
