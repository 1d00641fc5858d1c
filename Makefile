# The two commands: `make demo` draws a picture with the embedded model, `make test` runs the tests.
# Each makes its own environment in .venv and installs what it needs.
#
#   PYTHON=python3.12   another interpreter (3.10 or newer)
#   TORCH=torch==2.9.1  another torch; the default is any torch where there is an NVIDIA driver,
#                       else a release that has a CPU build
#   ARGS="..."          more arguments for the command, such as ARGS='-k pipeline'

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
TORCH ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo torch || echo torch==2.13.0)
PROMPT ?= a red apple
SEED ?= 1

.PHONY: demo test lint kernels claims versions clean

demo: $(VENV)/.installed
	$(RUN) -m toprovar generate "$(PROMPT)" --seed $(SEED) --out demo.png $(ARGS)

test: $(VENV)/.installed-dev
	$(RUN) -m pytest $(ARGS)

lint: $(VENV)/.installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m pyright --pythonpath $(RUN)
	$(VENV)/bin/oxlint --deny-warnings
	$(VENV)/bin/codespell
	$(VENV)/bin/codespell locales/en/nodeDefs.json example_workflows/*.json
	$(VENV)/bin/proselint --config .proselintrc.json --output-format compact check \
	  $(wildcard README.md docs web/docs/*.md examples)

# Every kind of Triton kernel for five generations of GPUs, without a GPU; ARGS= is the whole list.
kernels: ARGS ?= --quick
kernels: $(VENV)/.installed-dev
	$(RUN) -m benchmarks.compile_kernels $(ARGS)

# The README's figures against their sources, those again that take seconds.
# ARGS='--run all --timing' is all that this machine can measure.
claims: ARGS ?= --run quick
claims: $(VENV)/.installed-dev
	$(RUN) -m benchmarks.check_claims $(ARGS)

# The lowest and the newest versions of what is needed, each combination in an environment of its own:
# half an hour or more, for a scheduled lane.
versions: ARGS ?= --torch lowest --torch 2.9.1 --python 3.10 --python 3.13
versions: $(VENV)/.installed-dev
	$(RUN) -m benchmarks.versions $(ARGS)

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "toprovar needs Python 3.10 or newer; name one with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) demo.png
