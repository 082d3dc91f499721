# The project's targets. Each sets up what it needs: its own virtual environment with pinned constraints.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup demo test test-slow check format bench peers clean
setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; say which Python 3.11 to use: make PYTHON=python3 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,evaluate,dev,parity]'
	touch $(STAMP)

demo: setup  ## A working platform with pages to look at
	$(BIN)/upnext demo

test: setup  ## Everything but the slow tests
	$(BIN)/python -m pytest -n 2 -m "not slow" tests

test-slow: setup  ## Long replays and the full kill test
	$(BIN)/python -m pytest -m slow tests

check: setup  ## Format, lint, types, order of imports
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

bench: setup  ## The serving benchmark with a million videos
	$(BIN)/upnext bench serve --videos 1000000

peers:  ## Values of other libraries that tests compare with, each made in its own pinned environment
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python -r benchmarks/peers/requirements.txt
	.venv-peers/bin/python benchmarks/peers/obp_values.py > tests/evaluate/obp_values.json

clean:
	rm -rf $(VENV) .venv-peers .mypy_cache .ruff_cache .import_linter_cache upnext-demo
