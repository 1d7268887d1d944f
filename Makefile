# The two commands for a stranger are `make demo` and `make test`; each makes .venv when it is not there.
PYTHON ?= python3
VENV   ?= .venv
# For example PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" spares a CPU machine gigabytes of CUDA.
PIP_ARGS ?=
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
INSTALL = $(PIP) install -q $(PIP_ARGS) -c constraints.txt
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

export OMP_NUM_THREADS ?= 1

.PHONY: help demo test test-all lint types format results bench bench-peers clean

help:
	@echo "make demo      install, then the whole flow on generated radiographs (minutes, offline after the install)"
	@echo "make test      install, then lint, types and the fast tests"
	@echo "make test-all  the slow tests too"
	@echo "make format    let ruff arrange the code"
	@echo "make bench     how fast it is, beside other libraries where make bench-peers has installed them; CASE=views for one"
	@echo "make results   remake the figures of docs/results.md from the committed files"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

# holds all of the above: the tests do not wait for two installs
$(VENV)/installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[test]"
	@touch $(VENV)/installed $@

# two threads suit two cores; a machine with more takes what it has
demo: $(VENV)/installed
	env -u OMP_NUM_THREADS $(BIN)/kontrast demo --out kontrast-demo

test: $(VENV)/installed-test lint types
	$(PYTEST) -m "not slow"

test-all: $(VENV)/installed-test lint types
	$(PYTEST)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test
	$(BIN)/mypy

format: $(VENV)/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results: $(VENV)/installed
	$(BIN)/python results/make.py

# one core a contestant: the benchmark pins itself
bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.speed $(CASE)

# Libraries that want torchvision live apart. They come without what they depend on, which would bring another torch.
PEERS := .venv-peers
bench-peers: $(PEERS)/installed

$(PEERS)/installed: benchmarks/speed/peers/requirements.txt constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install -q $(PIP_ARGS) -c constraints.txt torch numpy scipy pillow tqdm einops omegaconf hydra-core \
		PyYAML requests loguru psutil safetensors transformers datasets aenum requests_cache matplotlib
	$(PEERS)/bin/pip install -q --no-deps -r $<
	@touch $@

clean:
	rm -rf $(VENV) $(PEERS) kontrast-demo .pytest_cache .mypy_cache .ruff_cache
