# The project's targets. Each sets up what it needs: its own virtual environment with pinned constraints.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup demo test test-slow check format bench obp-values peers clean
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

obp-values:  ## Values of obp's estimators that tests compare with, made in its own pinned environment
	test -x .venv-obp/bin/python || $(PYTHON) -m venv .venv-obp
	.venv-obp/bin/pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python -r benchmarks/peers/requirements-obp.txt
	.venv-obp/bin/python benchmarks/peers/obp_values.py > tests/evaluate/obp_values.json

# Other libraries' lists of the same rows, in the table of `upnext evaluate`: make peers FROM=... UNTIL=... [CONFIG=upnext.toml] [PEERS=folder].
# Needs imported data and a release of before FROM. What is made already stays: after a kill, run it again.
PEERS    ?= upnext-peers
PEER_BIN := .venv-peers/bin
PEER_RUN := implicit_peers ease lightfm_warp rectools_sasrec blends
WINDOW    = $(if $(FROM),--from $(FROM)) $(if $(UNTIL),--until $(UNTIL)) $(if $(CONFIG),--config $(CONFIG))

peers: setup .venv-peers/.installed  ## Other libraries beside our lists, on the same rows
	$(BIN)/upnext evaluate $(WINDOW) --export-rows $(PEERS)/rows
	for peer in $(PEER_RUN); do $(PEER_BIN)/python benchmarks/peers/$$peer.py $(PEERS) || exit 1; done
	$(BIN)/upnext evaluate $(WINDOW) --lists $(PEERS)/lists

.venv-peers/.installed: benchmarks/peers/requirements-retrieval.txt
	test -x $(PEER_BIN)/python || $(PYTHON) -m venv .venv-peers
	$(PEER_BIN)/pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/peers/requirements-retrieval.txt
	touch .venv-peers/.installed

clean:
	rm -rf $(VENV) .venv-peers .venv-obp .mypy_cache .ruff_cache .import_linter_cache upnext-demo
