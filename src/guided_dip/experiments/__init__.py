"""Studies made of many runs: the runner they share, the report's experiment, its page."""
