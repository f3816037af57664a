# Everything below needs Python 3.10 or newer (3.11 recommended) and nothing else; it makes its own environment.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Files of tests run in as many processes, each of one thread.
PROCESSES ?= 2
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all test-gpu docs tutorial compatible coverage starter lint install clean

demo: $(VENV)/installed  ## The whole way on made-up images: four to ten minutes on two cores
	$(BIN)/resunet-ds demo -o demo_output

test: $(VENV)/installed-dev lint  ## Style, types, then the quick tests: some ten minutes on two cores
	$(PYTEST) -m "not long"

test-all: test  ## Then the long ones: the demo, trainings, faults, load, clusters, installation
	$(PYTEST) -m long

test-gpu: $(VENV)/installed-dev  ## What needs CUDA; skipped, with the reason, where there is none
	$(BIN)/python -m pytest -m gpu

docs: $(VENV)/installed-dev  ## The documentation as pages in build/site; ends with an error at a broken link
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

tutorial: $(VENV)/installed-dev  ## The tutorial's page and pictures, from a run of the demo
	$(BIN)/python -m nnunet_resunet_ds.experiments.tutorial

compatible: $(VENV)/installed-dev  ## The quick tests on the newest Python, in an environment of their own
	$(BIN)/nox -s newest-3.13

coverage: $(VENV)/installed-dev  ## Which lines of the packages the tests run
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95

# Folders of cases of BraTS 2018 or 2021, with their segmentations: make starter CASES="FOLDER FOLDER"
CASES ?=
STARTER_WORK ?= starter_work

starter: $(VENV)/installed  ## The starter model again, from CASES: two hours on two cores; give it again to go on
	$(BIN)/python -m nnunet_resunet_ds.experiments.starter $(CASES) -o $(STARTER_WORK)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

install: $(VENV)/installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no venv in this Python; on Debian: apt install python3-venv"; exit 2; }

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) .nox demo_output build dist
