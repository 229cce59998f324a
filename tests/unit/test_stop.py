"""A word to stop, given by signals' handlers too."""

import subprocess
import sys

from tandem.stop import Stop

HAMMERED = """
import signal
from tandem.stop import Stop
stop, came = Stop(), []
signal.signal(signal.SIGALRM, lambda *_: (came.append(1), stop.set()))
signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
while len(came) < 100:
    stop.set()
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_it_is_waited_for_no_longer_than_asked() -> None:
    stop = Stop()
    assert not stop.wait(0.01)
    assert not stop.is_set()
    stop.set()
    assert [stop.wait(60), stop.wait(60), stop.is_set()] == [True, True, True]


def test_a_handler_that_comes_in_the_middle_of_another_waits_for_nobody() -> None:
    ended = subprocess.run([sys.executable, "-c", HAMMERED], timeout=60, check=False)
    assert ended.returncode == 0
