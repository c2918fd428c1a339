# make lab      set everything up and open the course
# make test     set everything up and re-run everything: the tests and every cell of every notebook
# make quick    the tests, and the pages that you changed
# make refresh  re-run the notebooks and store their outputs
# make torture  the long tests: pages with changed parameters, cells in random order, thousands of inputs
# make coverage which lines of the library the tests and the notebooks reach
# make bench    measure the speed of the training loop against alternatives, and of the panels
# make book     the reading edition: all pages as stored, as a site that needs no network
#
# make lab WORDS=lecture      every page uses the lecture's own word list; or give the path of your list
# make setup TORCH=torch      another PyTorch, as a pip requirement; run `make clean` first

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# JupyterLab does not start without docstrings, and the tests need their assertions.
unexport PYTHONOPTIMIZE
# Without bytecode files every process and every kernel recompiles PyTorch's source, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

# Kernels run in notebooks/, so make the path absolute.
ifdef WORDS
export MLP_LIB_WORDS := $(if $(filter lecture /% ~%,$(WORDS)),$(WORDS),$(CURDIR)/$(WORDS))
endif

.PHONY: setup lab test quick torture coverage lint refresh bench book clean

setup: $(VENV)/.ready

# --no-compile: Python compiles a file when it is first imported, and most of these files never are.
# .ready depends on pyproject.toml, so changed dependencies are installed at the next call.
# Without TORCH, the small CPU build is used if it is enough and its index answers.
$(VENV)/.ready: pyproject.toml Makefile
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) cannot be run here: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is older: make setup PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || \
	  { echo "could not make $(VENV): on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --no-compile $(or $(TORCH),torch==2.13.0 $$($(BIN)/python tools/cpu_wheels.py))
	$(BIN)/python -m pip install --quiet --no-compile -e ".[test]"
	@touch $@

lab: setup
	$(BIN)/jupyter lab $(LAB_ARGS) notebooks/00_start_here.ipynb

# One worker per core, each with one torch thread: threads that share a core slow each other down.
WORKERS ?= auto
test: setup lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# While writing: all tests, and the pages that are new or differ from the last commit.
CHANGED = $(shell git diff --name-only --relative --diff-filter=d HEAD -- 'notebooks/*.ipynb'; \
  git ls-files --others --exclude-standard -- 'notebooks/*.ipynb')
quick: setup lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
	  tests mlp_lib $(CHANGED) $(PYTEST_ARGS)

torture: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m torture -n $(WORKERS) --dist worksteal $(or $(PYTEST_ARGS),tests)

coverage: export COVERAGE_FILE = $(CURDIR)/.coverage
coverage: setup
	$(BIN)/python -m pip install --quiet "coverage>=7.10"
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --show-missing --skip-covered --fail-under=95

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

refresh: setup
	$(BIN)/python tools/refresh_notebooks.py $(NOTEBOOKS)

bench: setup
	$(BIN)/python -m pip install --quiet -e ".[bench]"
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/panels.py

book: setup
	rm -rf book/_build
	$(BIN)/python -m sphinx -W --keep-going -n -q -c book -d book/_build/doctrees . book/_build/html
	@echo "open book/_build/html/index.html"

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache book/_build
