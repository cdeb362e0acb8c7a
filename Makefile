# make demo: the main job. make test: the fast tests. Everything lives in .venv, which is made on first use.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# Where torch comes from: requirements/torch-cpu.txt, or requirements/torch-cuda.txt on a machine with an NVIDIA GPU.
TORCH ?= requirements/torch-cpu.txt
# Your own raw files: make demo DATA=/path/to/folder
DATA ?=
# make repro TARGET=train-model: only up to that stage.
TARGET ?=
# make images: podman, buildah or docker; a base image by digest; a prefix and a tag that never moves.
CONTAINER ?= podman
BASE ?=
IMAGES ?= localhost/isoformer
TARGETS ?= data train package serve
TAG ?= $(shell git rev-parse --short=12 HEAD 2> /dev/null || echo worktree)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
# More options of the build, e.g. --volume for certificates.
BUILD_OPTIONS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# No telemetry from anything that is run here.
export BENTOML_DO_NOT_TRACK := True
export DVC_NO_ANALYTICS := 1
export PYTHONSAFEPATH := 1

.PHONY: demo test test-slow repro images lint bench install constraints clean

demo: install
	$(BIN)/isoformer demo $(if $(DATA),--data "$(DATA)")

test: install
	$(BIN)/python -m pytest -m "not slow and not containers"

test-slow: install
	$(BIN)/python -m pytest -m "slow and not containers"

# The same steps by DVC: fabricated data unless data.folder of params.yaml names your own (then: make repro TARGET=package-model).
repro: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro $(TARGET)

# Equal inputs give equal layers, in this commit and the next: every file carries one and the same time, the first that
# a zip archive can hold (podman, buildah; Docker with BuildKit reads SOURCE_DATE_EPOCH).
images: export SOURCE_DATE_EPOCH := 315532800
images:
	for target in $(TARGETS); do \
	  $(CONTAINER) build $(if $(filter podman buildah,$(notdir $(CONTAINER))),--timestamp $$SOURCE_DATE_EPOCH) \
	    --target $$target $(if $(BASE),--build-arg BASE="$(BASE)") --build-arg TORCH="$(TORCH)" \
	    --build-arg REVISION="$(TAG)" --build-arg VERSION="$(VERSION)" $(BUILD_OPTIONS) \
	    -f components/Dockerfile -t $(IMAGES)-$$target:$(TAG) . ; \
	done

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install
	for script in benchmarks/*.py; do [ "$$script" = benchmarks/__init__.py ] || $(BIN)/python -m "$$(echo $${script%.py} | tr / .)"; done

install: $(STAMP)

$(STAMP): pyproject.toml requirements/constraints.txt $(TORCH)
	@python=""; for candidate in python3.11 python3.12 python3.13 python3; do \
	  if command -v $$candidate > /dev/null && $$candidate -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2> /dev/null; \
	  then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then echo "error: Python 3.11, 3.12 or 3.13 with the venv module is needed (Debian: python3-venv)" >&2; exit 2; fi; \
	[ -x $(BIN)/python ] || $$python -m venv $(VENV)
	@echo "Installing into $(VENV) (once, 1-3 minutes) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 0 -r $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 -c requirements/constraints.txt -e '.[all]'
	@touch $(STAMP)

# Resolve the pins anew; uv.lock records index addresses and stays out of the repository.
constraints:
	uv lock --upgrade
	uv export --all-extras --all-groups --no-hashes --no-emit-project --no-header --no-annotate > requirements/constraints.txt

# What can be made again. Models and data stay: artifacts/, data/, registry/ and runs/ are yours.
clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
