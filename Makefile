# The three commands: `make demo`; `make quick`, a minute that reaches every room; `make test`, which
# every change must pass. All else is a part of one of them, or longer.
#
# Needs Python 3.11+ and PyPI. `make tools` adds what Debian or Ubuntu offers (QEMU, cross GCC).

PYTHON ?= python3
VENV ?= .venv
OUT ?= out
FUZZ_RUNS ?= 10000000
FUZZ_SECONDS ?=
FUZZ_TARGETS ?=
LONG_FUZZ_SECONDS ?= 60
# A plain `pip install torch` on Linux takes the CUDA build, several GB. For the CPU build:
# make demo TORCH_FLAGS="--index-url https://download.pytorch.org/whl/cpu"
TORCH_FLAGS ?=

BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Few of the modules are ever imported: Python compiles those when they are, and keeps what it made,
# whatever the environment says of that. Compiling PyTorch takes each process four seconds.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
SPIKELET := $(BIN)/spikelet
CODE := pytools sim models tests
C_CODE := $(wildcard firmware/*/*.[ch] firmware/kernels/arch/*.h boards/*/*.[ch] sim/*.c sim/rtl/*.cpp tests/c/*.[ch] \
    tests/plugin/*/firmware/*/*.h)

.PHONY: demo quick test tests test-long check format docs tools bench bars soak fuzz corpus figures rtl monocypher wheel lock sbom clean

demo: $(READY)
	$(SPIKELET) demo -o $(OUT)/demo

# One or two telling tests of each room, marked `quick`; tests/test_quick.py holds them to the rooms.
quick: $(READY)
	$(BIN)/python -m pytest -n 2 --dist=load -m quick

# mypy takes a minute on one core: the tests do not wait for it, nor one installer for the other.
test:
	$(MAKE) -j2 $(READY) tools
	$(MAKE) -j2 check tests

tests: $(READY) monocypher
	$(BIN)/python -m pytest -n 2 -m "not long"

# The campaigns: tests marked `long`, then LONG_FUZZ_SECONDS of fuzzing for each target.
test-long: $(READY) tools monocypher
	$(BIN)/python -m pytest -n 2 --dist=load -m long
	$(MAKE) fuzz FUZZ_SECONDS=$(LONG_FUZZ_SECONDS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(C_CODE)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_CODE)

# Writes the generated parts of docs/ and builds the pages into out/site.
docs: $(READY)
	$(BIN)/python tools/reference.py
	$(BIN)/python tools/picture.py
	$(BIN)/python -m mkdocs build --site-dir $(abspath $(OUT))/site

# Elsewhere than on Debian or Ubuntu as root it says what to install and goes on.
tools:
	@sh tools/install_tools.sh

# The C of Monocypher into the cache, for the tests of signatures on devices; without it they are
# skipped, loudly.
monocypher: $(READY)
	-$(BIN)/python tools/fetch_monocypher.py

# The cores in Verilog become simulators in the cache, for the boards that end in -rtl: minutes, once.
rtl: $(READY)
	$(PIP) --no-build-isolation -c constraints.txt -e '.[rtl]'
	$(BIN)/python tools/rtl.py

# Also writes docs/sizes.csv; `tools/sizes.py --against` says what a change moved.
bench: $(READY)
	$(BIN)/python tools/sizes.py
	$(BIN)/python tools/bench.py --out $(OUT)/bench

# The bars of learning on the device; an hour, and most of them read SPIKELET_DATA.
bars: $(READY)
	$(BIN)/python tools/bars.py --json $(OUT)/bars.json

# Regenerates the tables of figures in README and docs from fresh runs; an hour.
figures: $(READY)
	$(BIN)/python tools/figures.py

soak: $(READY)
	mkdir -p $(OUT)
	$(BIN)/python tests/soak_link.py --frames 1000000 --json $(OUT)/soak.json

# FUZZ_RUNS executions of each target, or FUZZ_SECONDS of each where that is given: frames, storage and
# deltas in C (clang's libFuzzer, minutes each), files in Python (atheris, Linux, hours each).
# What ran is kept in OUT/fuzz: a campaign that was stopped goes on. FUZZ_TARGETS names a few.
fuzz: $(READY)
	$(PIP) --no-build-isolation -c constraints.txt -e '.[fuzz]'
	$(MAKE) -C tests/c fuzzers PYTHON=$(abspath $(BIN))/python
	$(BIN)/python tests/fuzz/campaign.py --out $(OUT)/fuzz \
	    $(if $(FUZZ_SECONDS),--seconds $(FUZZ_SECONDS),--runs $(FUZZ_RUNS)) $(FUZZ_TARGETS)

# Makes the inputs that are kept of each target anew, from what `make fuzz` found.
corpus: $(READY)
	$(MAKE) -C tests/c fuzzers PYTHON=$(abspath $(BIN))/python
	$(BIN)/python tests/fuzz/campaign.py --out $(OUT)/fuzz --keep $(FUZZ_TARGETS)

wheel: $(READY)
	$(BIN)/python -m build --wheel --no-isolation -o dist

# Every file by its hash, but for PyTorch, whose build is the user's choice.
$(READY): pyproject.toml constraints.txt requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps --require-hashes -r requirements.lock
	$(PIP) $(TORCH_FLAGS) -c constraints.txt torch
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

# After a change of pyproject.toml or constraints.txt.
lock: $(READY)
	$(PIP) -c constraints.txt uv
	$(BIN)/python tools/lock.py

# What the environment holds, as CycloneDX (SBOM); the firmware is this repository's own code alone.
sbom: $(READY)
	mkdir -p $(OUT)
	$(PYTHON) -m venv $(OUT)/sbom-venv
	$(OUT)/sbom-venv/bin/python -m pip install --quiet -c constraints.txt cyclonedx-bom
	$(OUT)/sbom-venv/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	    -o $(OUT)/sbom.cdx.json $(BIN)/python

clean:
	rm -rf $(VENV) $(OUT) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
