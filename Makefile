# Everything a machine needs comes from envs/requirements.lock into .venv; `make demo` and `make test` set it up.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
DATA ?=
CONFIG ?= config/config.yaml

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR):$(CURDIR)/workflow/plugins
STAGES := --logger stages
SNAKEMAKE = snakemake --workflow-profile workflow/profiles/default $(STAGES)

SHELL_SCRIPTS := .ci/run tests/slurm_cluster.sh

.PHONY: help setup demo run slurm plan why trial test test-slurm test-browser pictures install-slurm install-browser fast-tests \
  format check reruns lock clean check-python check-rules check-web check-yaml check-markdown check-shell check-container

help:
	@echo "make demo                 the whole method on a small drawn cohort: minutes on two CPU cores"
	@echo "make test                 all tests but those on SLURM and in a browser"
	@echo "make test-slurm           those on a throw-away SLURM (installed if missing, as root on Debian); DEMO=yes: the demo too"
	@echo "make test-browser         those of the report in Chromium (installed if missing, as root on Debian); REPORT=folder: of that report"
	@echo "make run CONFIG=file      an experiment on this machine (clusters: snakemake --profile slurm)"
	@echo "make plan CONFIG=file     what it would cost on the cluster: jobs, GPU- and CPU-hours, disk, files"
	@echo "make why CONFIG=file      what would run again, because of which key"
	@echo "make slurm CONFIG=file    an experiment on a cluster; after a killed run too: waits for its jobs first"
	@echo "make trial DATA=folder    slides laid from a folder of tissue tiles, to the table"
	@echo "make pictures             README's pictures, of the demo that was run last"
	@echo "make format               Python, rules, JavaScript, CSS, YAML, Markdown and shell, reformatted"
	@echo "make check                formatting, types, lint and the fast tests, before every commit"
	@echo "make lock                 compile envs/requirements.lock from pyproject.toml again"
	@echo "make clean                remove results and logs of the demo and the trial"

setup: $(READY)

$(READY): envs/requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python {v[0]}.{v[1]} found, 3.11 to 3.13 needed; say which with make PYTHON=python3.11")'
	@command -v uv > /dev/null || { echo "Fetching uv"; $(PYTHON) -m pip install --quiet --upgrade --target .uv uv; }
	@echo "Setting up .venv: about two minutes, 8 GB"
	@uv=$$(command -v uv || echo .uv/bin/uv) && rm -rf .venv \
	&& $$uv venv --quiet --python "$$(command -v $(PYTHON))" .venv \
	&& $$uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r envs/requirements.lock
	@touch $@

demo: $(READY)
	@python -m slpd make_cohort --config config/demo_cohort.yaml --out data/demo
	@$(SNAKEMAKE) --configfile config/demo.yaml
	@$(SNAKEMAKE) --configfile config/demo.yaml --quiet all --report results/demo/report.zip
	@echo; cat results/demo/tables/demo.md
	@echo; cat results/demo/report/findings.txt
	@echo; echo "Report: results/demo/report/index.html, to open in a browser. With Snakemake's record of the jobs: results/demo/report.zip"

run: $(READY)
	$(SNAKEMAKE) --configfile $(CONFIG)

slurm: $(READY)
	@python -m slpd recover
	snakemake --profile slurm $(STAGES) --configfile $(CONFIG)

plan: $(READY)
	@python workflow/scripts/plan.py --profile slurm --configfile $(CONFIG)

why: $(READY)
	@python workflow/scripts/why.py --configfile $(CONFIG)

trial: $(READY)
	@test -d "$(DATA)" || { echo "DATA=$(DATA): no such folder; make trial DATA=folder, see README.md"; exit 2; }
	@python -m slpd make_cohort --config config/trial_cohort.yaml --out data/trial/lung \
	  --tiles "$(if $(wildcard $(DATA)/lung-tiles),$(DATA)/lung-tiles,$(DATA))"
	@$(SNAKEMAKE) --configfile config/trial.yaml
	@ln -sfn "$$(realpath "$(DATA)")" data/trial/source
	@test ! -e data/trial/source/slides/her2st_B4.tiff || $(SNAKEMAKE) --configfile config/trial.yaml config/trial_slides.yaml
	@echo; cat results/trial/tables/trial.md
	@echo; echo "Report: $$(echo results/trial*/report/index.html)"

# Tests of one file share fixtures, so they stay on one worker. At most eight workers: one with torch needs over 1 GB.
test: $(READY)
	pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder --durations 10 -m "not slurm and not browser"

# Each file has a cluster of its own, all at once: most of the time they wait.
test-slurm: $(READY) install-slurm
	pytest -n 3 --dist loadfile tests/test_slurm.py tests/test_slurm_faults.py $(if $(DEMO),tests/test_slurm_demo.py)

test-browser: $(READY) install-browser
	pytest tests/test_browser.py

# Where that is possible; without them the tests are skipped, and pytest fails where it ran none.
install-slurm:
	@command -v slurmctld > /dev/null || test "$$(id -u)" != 0 || ! command -v apt-get > /dev/null || tests/slurm_cluster.sh install

# What README.md shows, of the demo that was run last; the graph of the rules needs Graphviz too.
pictures: $(READY) install-browser
	@python docs/pictures.py results/demo/report
	@$(SNAKEMAKE) --configfile config/demo.yaml --rulegraph dot -- results/demo/tables/demo.md \
	  | dot -Grankdir=LR -Gdpi=84 -Tpng > docs/pictures/rulegraph.png

install-browser:
	@test -x /usr/bin/chromium || test "$$(id -u)" != 0 || ! command -v apt-get > /dev/null \
	|| { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium > /dev/null; }

reruns: $(READY)
	@python tests/rerun_table.py
	@python -m slpd schema > config/schema.json

fast-tests: $(READY)
	pytest -q -m "not torch and not workflow and not slides and not slurm and not browser and not slow"

format: $(READY)
	ruff format .
	snakefmt Snakefile workflow
	biome format --write
	ryl format .
	rumdl fmt .
	shfmt -i 4 -w $(SHELL_SCRIPTS)

# What .pre-commit-config.yaml runs too, each where its files change.
check: check-python check-rules check-web check-yaml check-markdown check-shell check-container fast-tests

check-python: $(READY)
	ruff format --check .
	ruff check .
	mypy

check-rules: $(READY) data/demo/slides.csv
	snakefmt --check Snakefile workflow
	snakemake --lint --configfile config/demo.yaml

check-web: $(READY)
	biome check

check-yaml: $(READY)
	ryl format --check .
	ryl check .

check-markdown: $(READY)
	rumdl check .

check-shell: $(READY)
	shfmt -i 4 -d $(SHELL_SCRIPTS)
	shellcheck $(SHELL_SCRIPTS)

check-container: $(READY)
	hadolint envs/Dockerfile

data/demo/slides.csv: config/demo_cohort.yaml $(READY)
	@python -m slpd make_cohort --config $< --out data/demo

lock:
	$$(command -v uv || echo .uv/bin/uv) pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --quiet --upgrade --output-file envs/requirements.lock

clean:
	rm -rf data/demo data/trial $(foreach name,demo trial trial_slides,results/$(name) logs/$(name))
