# make run: the whole study in CONFIG, then its report. make test: every test. The rest is for developers.
CONFIG ?= config.yaml
CORES ?= all
PYTHON ?= python3
BIN := .venv/bin
STUDY = $(or $(shell sed -n "s/^study: *[\"']\{0,1\}\([A-Za-z0-9._-]*\).*/\1/p" $(CONFIG) 2>/dev/null),default)
RESULTS = results/$(STUDY)
SNAKEMAKE = $(BIN)/snakemake --configfile $(CONFIG)
# With a profile, such as profiles/slurm, jobs run on other machines, which look for themselves whether they fit.
ELSEWHERE = $(if $(SNAKEMAKE_PROFILE),--elsewhere)
SOURCES = relapse scripts tests

.DEFAULT_GOAL := help
.PHONY: help run plan report docs dist test test-all lint format bench unlock lock

help:
	@echo "make run       run $(CONFIG) and write its report   (CONFIG=configs/x.yaml for another study, CORES=2)"
	@echo "make plan      what $(CONFIG) will take: memory, disk and time of each kind of job"
	@echo "make test      every test but the slow ones"
	@echo "make test-all  every test"
	@echo "make report    only the report of a finished study"
	@echo "make docs      the documentation as a website, in site/"
	@echo "make dist      a wheel with the command relapse, in dist/"
	@echo "make bench     speed of unlearning and evaluation, as ratios, and of quantizers"
	@echo "make unlock    after a killed run, before the next one"
	@echo "make lint      format and lint checks;  make format: mend what can be mended"
	@echo "make lock      pin the newest versions that envs/*.in allow"

# Rebuilt whenever the lock changes. torch comes first and without a hash: CPU and CUDA builds serve alike. The last of all
# is relapse itself, in place, for its command.
.venv/built: envs/torch.txt envs/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "relapse needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement envs/torch.txt
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement envs/requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/pip check
	touch $@

run: .venv/built
	@$(BIN)/python -m scripts.check_study $(ELSEWHERE) $(CONFIG)
	$(SNAKEMAKE) --cores $(CORES)
	@$(MAKE) --no-print-directory report
	@echo
	@echo "Tables:   $(RESULTS)/tables/   $(RESULTS)/metrics.csv   retained.csv   recovery.csv   absorption.csv   models.csv"
	@echo "Figures:  $(RESULTS)/figures/"
	@echo "Report:   $(RESULTS)/report.html"
	@echo
	@cat $(RESULTS)/headline.txt

plan: .venv/built
	@$(BIN)/python -m scripts.check_study $(ELSEWHERE) $(CONFIG)

report: .venv/built
	$(SNAKEMAKE) --cores 1 --report $(RESULTS)/report.html

# The website needs nothing of .venv, and .venv nothing of it.
.venv-docs/built: envs/docs.txt
	rm -rf .venv-docs
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --no-deps --require-hashes --requirement envs/docs.txt
	.venv-docs/bin/pip check
	touch $@

docs: .venv-docs/built
	.venv-docs/bin/mkdocs build --strict --quiet

dist: .venv/built
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# The tests of a file run in one process, which builds what they share once.
test: .venv/built
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-all: .venv/built
	$(BIN)/pytest -n 2 --dist loadfile

lint: .venv/built
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

format: .venv/built
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/snakefmt Snakefile rules

bench: .venv/built
	$(BIN)/python -m scripts.bench
	$(BIN)/python -m scripts.bench_quantizers

unlock: .venv/built
	$(SNAKEMAKE) --unlock

# conda.yaml lists the pins without their hashes, which pip would ask of torch too.
lock: .venv/built
	$(PYTHON) -m venv .venv/uv && .venv/uv/bin/pip install --quiet uv
	.venv/uv/bin/uv pip compile --upgrade --quiet --config-file envs/uv.toml --universal --python-version 3.11 \
		--generate-hashes --no-emit-package torch envs/requirements.in --output-file envs/requirements.txt
	.venv/uv/bin/uv pip compile --upgrade --quiet --config-file envs/uv.toml --universal --python-version 3.11 \
		--generate-hashes envs/docs.in --output-file envs/docs.txt
	for name in legacy gptqmodel; do .venv/uv/bin/uv pip compile --upgrade --quiet --config-file envs/uv.toml \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-emit-package torch \
		envs/$$name.in --output-file envs/$$name.txt || exit 1; done
	$(MAKE) envs/conda.yaml

envs/conda.yaml: envs/torch.txt envs/requirements.txt
	printf '%s\n' '# For `snakemake --sdm conda`; made of torch.txt and requirements.txt by make lock.' 'channels: [conda-forge]' \
		dependencies: '  - python=3.11' '  - pip' '  - pip:' > $@
	cat $^ | grep -oE '^[a-z0-9][^\\]*[^ \\]' | sed 's/.*/      - "&"/' >> $@
