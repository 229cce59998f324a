"""What a worker gives back to the kernel, in a process of its own: it changes how that process takes memory."""

import subprocess
import sys

USED = """
import psutil
from tandem.serving.server import settle

def held():
    return psutil.Process().memory_info().rss / 2**20

settle()
before = held()
for _ in range(3):
    whole = bytearray(b"x") * (24 << 20)  # of which glibc would learn to keep twice as much
    del whole
    parts = [bytearray(b"x") * (2 << 20) for _ in range(20)]
    most = held() - before
    del parts
print(most > 30, held() - before < 5)
"""


def test_what_a_large_request_took_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", USED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_arrow_takes_from_the_same_heap() -> None:
    asked = (
        "from tandem.serving.server import settle; settle(); "
        "import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "system\n"
