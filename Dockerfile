# relapse in a container, with the environment that `make` builds from envs/:
#   docker build --tag relapse .
#   docker run --rm --volume "$PWD/results:/relapse/results" relapse make run CORES=2
# Another base must be a Debian or Ubuntu whose python3 is 3.11 or newer.
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${BASE}
# https://download.pytorch.org/whl/cpu: torch without CUDA, which is much smaller.
ARG PIP_EXTRA_INDEX_URL
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /relapse
COPY . .
RUN PIP_NO_CACHE_DIR=1 make .venv/built
ENV PATH=/relapse/.venv/bin:$PATH
CMD ["relapse", "--help"]
