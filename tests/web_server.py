"""A server of jobs that a test kills: a program of its own, that says what it is at."""

import sys
from pathlib import Path


def main():
    from guided_dip.web.queue import asking
    from guided_dip.web.queue.manager import JobManager

    asking.CHECKPOINT_EVERY = asking.TOLD_EVERY = 0.0
    with JobManager(Path(sys.argv[1]), workers=2, figures=False) as manager:
        states = manager.states("me")
        while states:
            for state in manager.states("me"):
                print(state.id, state.status, state.progress.step, flush=True)
            state = states[0]
            states = [manager.wait(state.id, "me", manager.state(state.id, "me").version, 1)]


if __name__ == "__main__":
    main()
