"""Run one stage as `python -m flows.STAGE` does, and print how long it worked once all was imported."""

import sys
import time
from importlib import import_module

from tandem.params import Params
from tandem.settings import Settings

stage = sys.argv[1]
operation = getattr(import_module(f"flows.{stage}"), stage)
params, settings = Params.load(), Settings.load()
import_module(f"problems.{params.problem}.contracts")  # which a stage imports when it first needs them
start = time.perf_counter()
operation(params, settings)
print(f"work {time.perf_counter() - start}")
