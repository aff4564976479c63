# Falx. A bare `make` says what there is. Works with GNU make 3.81 (macOS) and newer.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
UV_VERSION := 0.13.8
# cpu, or cuda on Linux with an NVIDIA GPU: `make run EXTRA=cuda`
EXTRA ?= cpu
# Further arguments of the program behind a target: `make run ARGS=--verbose`, `make test ARGS='-k batcher'`
ARGS ?=

PY := $(VENV)/bin/python
LOCKED := uv.lock pyproject.toml $(wildcard */pyproject.toml) deploy/bootstrap.sh
RUN_STAMP := $(VENV)/.installed-run-$(EXTRA)
DEV_STAMP := $(VENV)/.installed-dev-$(EXTRA)
TRAINING := .venv-training
TRAINING_STAMP := $(TRAINING)/.installed-$(EXTRA)
# uv stays inside $(VENV) and uses its Python, whatever else is on this machine. What it installs it compiles as well, so
# that no start and no job does.
SYNC := UV_PROJECT_ENVIRONMENT=$(VENV) UV_PYTHON_DOWNLOADS=never \
	$(VENV)/bin/uv sync --quiet --frozen --all-packages --compile-bytecode --extra $(EXTRA)

.PHONY: help run test lint format training-env bench bench-volumes chaos drills up down logs clean

help:
	@echo 'Falx: open inference for brain-tumour MRI. Research use only. Not a medical device.'
	@echo
	@echo '  make run     start everything on this machine (needs Python >= 3.11, nothing else)'
	@echo '  make test    install the development tools and run every test, training included'
	@echo '  make lint    ruff, mypy (strict) and the import contracts'
	@echo '  make format  let ruff format and mend what it can'
	@echo '  make training-env  make the environment that training needs (.venv-training, with torch)'
	@echo '  make bench   measure ONNX Runtime, model servers and gateway; writes docs/benchmarks.md'
	@echo '  make bench-volumes  measure volumes; ARGS="--torch-python PATH" compares with MONAI; writes docs/benchmarks-volumes.md'
	@echo '  make chaos   send jobs while workers, gateway and queue are killed: is every accepted one kept?'
	@echo '  make drills  what takes longer than a test may; before a release; writes docs/drills.md'
	@echo '  make up      build the images and start them with docker compose'
	@echo '  make down    stop the containers and remove them'
	@echo '  make logs    follow what the containers log'
	@echo '  make clean   remove the environment, caches and logs'
	@echo
	@echo 'Settings: FALX_PORT=8010 make run, make run ARGS=--verbose, make run EXTRA=cuda; docs/operations.md has all.'

run: $(RUN_STAMP)
	@$(PY) -m deploy.embedded --stop-with-parent $(ARGS)

# Two environments, one suite: torch is not in the services' lock.
test: $(DEV_STAMP) $(TRAINING_STAMP)
	@$(PY) -m tests --training $(TRAINING)/bin/python $(ARGS)

lint: $(DEV_STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

format: $(DEV_STAMP)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

training-env: $(TRAINING_STAMP)

bench: $(DEV_STAMP)
	$(PY) -m benchmarks $(ARGS)

bench-volumes: $(DEV_STAMP)
	$(PY) -m benchmarks.volumes $(ARGS)

chaos: $(DEV_STAMP)
	@$(PY) -m drills.chaos $(ARGS)

drills: $(DEV_STAMP)
	@$(PY) -m drills $(ARGS)

COMPOSE = $(shell if docker compose version >/dev/null 2>&1; then echo docker compose; else echo docker-compose; fi)

up:
	$(COMPOSE) up -d --build $(ARGS)
	@echo "Falx is ready on http://localhost:$${FALX_PORT:-8000}/"

down:
	$(COMPOSE) down --volumes --remove-orphans

logs:
	$(COMPOSE) logs --follow

clean:
	rm -rf $(VENV) $(TRAINING) .falx .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What running needs, and no more. --inexact leaves development tools alone that `make test` has installed.
$(RUN_STAMP): $(LOCKED)
	@echo 'Installing what running needs into $(VENV) (only after a change of uv.lock) ...'
	@sh deploy/bootstrap.sh $(VENV) $(UV_VERSION)
	@$(SYNC) --no-dev --inexact
	@rm -f $(VENV)/.installed-*
	@touch $@

$(DEV_STAMP): $(LOCKED)
	@echo 'Installing the development environment into $(VENV) (only after a change of uv.lock) ...'
	@sh deploy/bootstrap.sh $(VENV) $(UV_VERSION)
	@$(SYNC)
	@rm -f $(VENV)/.installed-*
	@touch $@ $(RUN_STAMP)

$(TRAINING_STAMP): training/requirements.txt training/environment.sh uv.lock | $(DEV_STAMP)
	@echo 'Installing what training needs into $(TRAINING) (only after a change of its requirements or of uv.lock) ...'
	@sh training/environment.sh $(TRAINING) $(VENV) $(EXTRA)
	@rm -f $(TRAINING)/.installed-*
	@touch $@
