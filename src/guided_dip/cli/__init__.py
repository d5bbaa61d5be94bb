"""The command line, thin: parse, call, print.

Every command has a module of its own, which loads the heavy rooms only when the command runs:
``guided-dip --help`` loads no torch, and neither does ``guided-dip plan``.
"""

from guided_dip.cli.app import main, run

__all__ = ["main", "run"]
