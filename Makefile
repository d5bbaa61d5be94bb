# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-napari napari-needs coverage mutants dist lint format docs clean

# Installed anew whenever a dependency changes.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto

# In napari's own window, on a virtual screen. What napari uses of pydantic and NumPy is its own affair.
NAPARI_NEEDS := xvfb xauth libgl1 libegl1 libgl1-mesa-dri libxkbcommon-x11-0 libdbus-1-3 \
	libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-shape0 \
	libxcb-xinerama0
napari-needs:  # Debian's packages
	@echo $(NAPARI_NEEDS)

NAPARI := -p napari -p npe2 -p pytest-qt -W ignore::DeprecationWarning -W ignore::FutureWarning
$(VENV)/.napari: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[napari]'
	@touch $@

test-napari: $(VENV)/.napari
	QT_QPA_PLATFORM=xcb xvfb-run -a $(BIN)/python -m pytest $(NAPARI) tests/viewer

# Fails under 90% of lines and branches. Counting takes time and memory, so what measures those is
# left out, and what fails for want of time is not asked about here: that is what `make test` does.
MEASURED := --deselect tests/test_cli.py::test_help_is_quick \
	--deselect tests/test_sizing.py::test_a_megapixel_stays_within_its_bound \
	--deselect tests/test_restore.py::test_the_foretold_time_knows_squares_from_the_whole
coverage: $(VENV)/.napari
	$(BIN)/python -m coverage erase
	-$(BIN)/python -m pytest -n auto $(MEASURED) --cov --cov-report= --cov-fail-under=0
	QT_QPA_PLATFORM=xcb xvfb-run -a $(BIN)/python -m pytest $(NAPARI) tests/viewer \
		--cov --cov-append --cov-report= --cov-fail-under=0
	$(BIN)/python -m coverage report

# Some 2300 changes to what the method rests on, each seen by the tests of it: half an hour. Goes on
# where it was interrupted; where files were moved, remove mutants/ first. `mutmut results` and
# `mutmut show NAME` tell of those that none caught.
$(VENV)/.mutants: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[mutants]'
	@touch $@

mutants: $(VENV)/.mutants
	OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/python .ci/check_mutants.py

# A release's files, checked, and installed off the checkout.
dist: $(VENV)/.installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/python .ci/check_wheel.py dist/*.whl

lint: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# No page may warn, and none may need anything from elsewhere.
docs: $(VENV)/.installed
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet docs build/docs

clean:
	rm -rf $(VENV) demo dist build mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis
