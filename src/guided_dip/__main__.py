"""``python -m guided_dip`` is ``guided-dip``."""

from guided_dip.cli import main

if __name__ == "__main__":
    main()
