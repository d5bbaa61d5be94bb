"""Print how many changes to the code the tests caught, and fail if too few: after `mutmut run`.

python .ci/check_mutants.py
"""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

from mutmut.stats import status_by_exit_code

ROOT = Path("mutants/src/guided_dip")
LEAST = 0.85
CAUGHT = {"killed", "timeout", "segfault"}  # a change that makes a test hang or crash is noticed


def count() -> dict[str, Counter[str]]:
    """Return what became of the changes to each module, or package."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(ROOT.rglob("*.py.meta")):
        module = path.relative_to(ROOT).parts[0].removesuffix(".py.meta")
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"].values()
        found[module].update(status_by_exit_code[code] for code in codes)
    return found


def main() -> int:
    """Print a line a module; return 1 if one is below what is wanted, or not all was tried."""
    short = 0
    found = count()
    if not found:
        print("nothing was changed yet: try mutmut run", file=sys.stderr)
        return 1
    for module, states in found.items():
        caught = sum(states[state] for state in CAUGHT)
        share = caught / states.total()
        others = ", ".join(f"{n} {state}" for state, n in states.most_common() if state != "killed")
        print(f"{module:<12} {share:6.1%} of {states.total()} caught ({others or 'all killed'})")
        short += share < LEAST
    return min(short, 1)


if __name__ == "__main__":
    sys.exit(main())
