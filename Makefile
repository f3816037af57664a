# Everything below needs Python 3.10 or newer (3.11 recommended) and nothing else; it makes its own environment.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# The tests that make test leaves out, and in how many processes it runs the others.
LONG = end_to_end or install
PROCESSES ?= 2

.PHONY: demo test test-all compatible coverage lint install clean

demo: $(VENV)/installed  ## The whole way on made-up images: a few minutes on a CPU
	$(BIN)/resunet-ds demo -o demo_output

test: $(VENV)/installed-dev lint  ## Style, types, then the quick tests, in two processes: some ten minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder -m "not ($(LONG))"

test-all: test  ## Then the long ones too: the demo, trainings by the stock commands, installation
	$(BIN)/python -m pytest -m "$(LONG)"

compatible: $(VENV)/installed-dev  ## The quick tests on the newest Python, in an environment of their own
	$(BIN)/nox -s newest-3.13

coverage: $(VENV)/installed-dev  ## Which lines of the packages the tests run
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95

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
