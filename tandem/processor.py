"""One set of instructions and threads for all machines of a platform, so that they give the same bytes.

numpy, OpenBLAS and DuckDB pick code by processor or by the number of cores, and that moves last bits. What can be
pinned only before it is imported is pinned here; a stage imports this first.
"""

import os

THREADS = 2
"""For every engine: results of parallel sums depend on it, so it is a constant and not the machine's count."""

PINNED = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": str(THREADS),
    "OMP_WAIT_POLICY": "passive",  # spinning threads starve whatever shares the cores
    "POLARS_MAX_THREADS": str(THREADS),
    # what Polars frees is given back soon
    "_RJEM_MALLOC_CONF": f"narenas:{THREADS},dirty_decay_ms:200,muzzy_decay_ms:0",
}


def pin() -> None:
    """Set what must be set before numpy and the engines are imported; children inherit it."""
    os.environ.update(PINNED)
