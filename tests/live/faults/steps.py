"""Steps: what passes between the daemon and its servers as killed_at_step.c tells it, and daemons that kill themselves at one of them."""

import collections
import os
import signal

from load import compile_preload, environment
from servers import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
PHASES = ("before", "middle", "after", "answered")


class Steps:
    """A step is "LABEL:PHASE". `library` is None where there is no compiler."""

    def __init__(self, directory):
        library = os.path.join(directory, "killed_at_step.so")
        self.library = library if compile_preload(os.path.join(HERE, "killed_at_step.c"), library) else None
        self.log = os.path.join(directory, "steps")

    def watch(self, daemon):
        """Starts it; seen() will know its steps."""
        open(self.log, "w", encoding="utf-8").close()
        with environment(LD_PRELOAD=self.library, SLUICE_STEP_LOG=self.log):
            daemon.start(wait=False)

    def seen(self):
        """How often the daemon that was started by watch() was at each step."""
        with open(self.log, encoding="utf-8") as log:
            return collections.Counter(log.read().splitlines())

    def start_to_die(self, daemon, step, n):
        """Starts it; it kills itself when it is at this step for the n-th time."""
        with environment(LD_PRELOAD=self.library, SLUICE_STEP_KILL=f"{step}:{n}"):
            daemon.start(wait=False)


def killed_itself(daemon, seconds):
    """Waits so long at most; whether it did. A clean end is none, any other is an error."""
    try:
        wait_until(lambda: not daemon.running(), seconds, "its end", pause=0.002)
    except TimeoutError:
        return False
    code = daemon.process.returncode
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{daemon.name} ended with {code}:\n{daemon.log[-3000:]}")
    return code != 0
