# The one list of words; hooks, people and .ci/run call these and nothing else.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.ONESHELL:
.SILENT:
.NOTPARALLEL:
.SHELLFLAGS := -euo pipefail -c
.PHONY: help setup fmt check unit test e2e infra workspaces mutation repro run publish serve images up plan down status backup restore report bench clean features

PYTHON ?= python3
PORT ?= 8080
ENV ?= dev
VENV ?= .venv
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadscope
export PORT
export PATH := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(VENV)/bin:$(PATH)
export DO_NOT_TRACK := 1
# without byte code each stage would compile all that it imports anew: 10 s a run
export PYTHONDONTWRITEBYTECODE :=

help: ## Show these words
	awk -F ':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

# uv knows nothing of pip's settings, so the index that is set up for pip is handed on
define with_index
	index=$$(pip config get global.index-url 2>/dev/null || true)
	UV_DEFAULT_INDEX=$${UV_DEFAULT_INDEX:-$${index:-}}; [ -z "$$UV_DEFAULT_INDEX" ] && unset UV_DEFAULT_INDEX || export UV_DEFAULT_INDEX
endef

define install
	$(with_index)
	uv pip sync --quiet --python $(VENV)/bin/python $(1)
	uv pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation --editable .
	uv pip install --quiet --python $(VENV)/bin/python --require-hashes -r requirements-uv.lock
endef

$(VENV)/uv: requirements-uv.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tandem needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	touch $@

$(VENV)/run: $(VENV)/uv requirements.lock pyproject.toml
	echo "installing packages into $(VENV)"
	$(call install,$(if $(wildcard $(VENV)/dev),requirements-dev.lock,requirements.lock))  # tools that are there stay
	touch $@

$(VENV)/dev: $(VENV)/uv requirements-dev.lock pyproject.toml
	echo "installing packages and development tools into $(VENV)"
	$(call install,requirements-dev.lock)
	touch $@ $(VENV)/run

setup: $(VENV)/dev ## Make .venv/ with all packages and development tools

fmt: $(VENV)/dev ## Format the code and mend what can be mended
	ruff format
	ruff check --fix

check: $(VENV)/dev ## Lint and check types
	ruff format --check
	ruff check
	mypy

unit: $(VENV)/dev ## Unit tests alone; on another Python: PYTHON=python3.13 VENV=build/python3.13
	pytest tests/unit

test: $(VENV)/dev ## Unit, property and integration tests
	coverage erase
	coverage run -m pytest $(PARALLEL) tests/unit tests/property tests/integration
	coverage combine --quiet
	coverage report

e2e: $(VENV)/dev ## The commands of README and docs, the whole graph, and the same bytes again
	pytest $(PARALLEL) tests/e2e

build/infra/done: requirements-infra.lock | $(VENV)/uv
	uv venv --quiet --clear --python $(VENV)/bin/python build/infra
	$(with_index)
	uv pip sync --quiet --python build/infra/bin/python --require-hashes requirements-infra.lock
	touch $@

infra: build/infra/done $(VENV)/dev ## Scan what stands workspaces up, and the workflow; with Terraform also format, check and test it
	build/infra/bin/checkov --config-file infra/checkov.yaml
	build/infra/bin/zizmor --offline --quiet .github
	pytest -rs tests/infra

workspaces: $(VENV)/dev ## Stand up dev and prod for real, and try all of it (needs a Docker engine, and `make images`)
	pytest -rs tests/workspaces

mutation: $(VENV)/dev ## Break what must not be wrong, see if tests notice, and write docs/mutation.md (an hour)
	python tests/mutation.py

repro: $(VENV)/run ## Run the pipeline's changed stages with DVC
	dvc repro

run: $(VENV)/run ## Data to a served model: run the pipeline, publish, sync and serve (PORT=8080)
	tandem serve --check  # not after minutes
	tandem run
	tandem publish
	tandem sync
	exec tandem serve

publish: $(VENV)/run ## Register the bundle that the pipeline made, and hold it against the champion
	tandem publish

features: $(VENV)/run ## Write docs/features.md, the catalogue of features, from what the pipeline made
	tandem features

report: $(VENV)/run ## Write build/report.html: the model's card with plots, a page for a browser
	tandem report

serve: $(VENV)/run ## Serve what takes traffic, or what the pipeline made (PORT=8080)
	exec tandem serve

images: $(VENV)/run ## Build the images of all workspaces, and lock their digests (BASE=debian:bookworm-slim)
	tandem workspace images $(if $(BASE),--base $(BASE))

up: $(VENV)/run ## Stand a workspace up, or change what differs (ENV=dev or prod)
	tandem workspace up $(ENV)

plan: $(VENV)/run ## Say what would change in a workspace, as Terraform does (ENV=dev or prod)
	tandem workspace plan $(ENV)

down: $(VENV)/run ## Take a workspace away, with its data (ENV=dev or prod; YES=1 does not ask)
	tandem workspace down $(ENV) $(if $(YES),--yes)

status: $(VENV)/run ## List what runs in all workspaces
	tandem workspace status

backup: $(VENV)/run ## Write all that a workspace holds as one archive (ENV=prod TO=prod.tar)
	tandem workspace backup $(ENV) $(or $(TO),$(ENV).tar)

restore: $(VENV)/run ## Stand a workspace up with what another one held (ENV=rehearsal FROM=prod.tar)
	tandem workspace restore $(ENV) $(or $(FROM),$(error say which archive: make restore ENV=rehearsal FROM=prod.tar))

bench: $(VENV)/dev ## Measure, and write benchmarks/RESULTS.md
	python benchmarks/run.py

lock: $(VENV)/uv ## Resolve pyproject.toml anew into the locks
	uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes --no-header --python-version 3.11 pyproject.toml --group build -o requirements.lock
	uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes --no-header --python-version 3.11 pyproject.toml --group build --group dev -c requirements.lock -o requirements-dev.lock
	for part in serving servers; do
	  uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 requirements-$$part.in -c requirements.lock -o requirements-$$part.lock
	done
	uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 requirements-infra.in -o requirements-infra.lock
	uv pip compile --quiet --universal --generate-hashes --no-header requirements-uv.in -o requirements-uv.lock

clean: ## Delete what can be made again: .venv, caches, data (var/ stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* build dvc_plots data/*/
