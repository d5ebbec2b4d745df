# make demo: install and convert the example.  make test: all checks.  make help: the rest.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
SVE2HDR := $(PY) -m sve2hdr
CODE := sve2hdr tests examples
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
# the first Python that is new enough; another one: make PYTHON=/path/to/python3 demo
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p $(NEW_ENOUGH) && echo $$p && break; done)

.PHONY: help demo test format bench clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo    install into .venv, convert examples/example.dng into demo-output'
	@echo 'make test    format check, lint, types, doctests and tests'
	@echo 'make format  format the code and apply the safe repairs of the linter'
	@echo 'make bench   speed and memory of the network and of whole conversions on this machine'
	@echo 'make clean   remove what these left, but for .venv and your training runs'

# A stamp is newer than what it was installed from; a virtual environment that does not start, or is too old, is made anew.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PY) $(NEW_ENOUGH) && $(PY) -c 'import pip' 2>/dev/null || { \
		'$(PYTHON)' $(NEW_ENOUGH) || { \
			echo 'no Python 3.11 or newer found; name one: make PYTHON=/path/to/python3'; exit 1; }; \
		'$(PYTHON)' -m venv --clear $(VENV); }
	@echo 'Installing into $(VENV); PyTorch is large, so this takes a while.'
	$(PIP) install -qq --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install -qq --constraint constraints.txt --editable '.[cluster,dev]'
	@touch $@

demo: $(VENV)/.installed
	@mkdir -p demo-output
	$(SVE2HDR) detect examples/example.dng
	$(SVE2HDR) convert examples/example.dng -o demo-output/example.exr --preview auto --overwrite
	$(SVE2HDR) convert examples/example.dng -o demo-output/example.hdr --overwrite
	@echo
	@echo 'EXR, scene-linear:       $(CURDIR)/demo-output/example.exr'
	@echo 'Radiance HDR:            $(CURDIR)/demo-output/example.hdr'
	@echo 'Preview, tone-mapped:    $(CURDIR)/demo-output/example.preview.jpg'

test: $(VENV)/.installed-dev
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m ruff check $(CODE)
	$(PY) -m mypy
	$(PY) -m pytest

format: $(VENV)/.installed-dev
	$(PY) -m ruff format $(CODE)
	$(PY) -m ruff check --fix $(CODE)

bench: $(VENV)/.installed
	$(PY) examples/bench_network.py
	$(PY) examples/bench_convert.py
	$(PY) examples/bench_detect.py

clean:
	rm -rf build dist demo-output *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
