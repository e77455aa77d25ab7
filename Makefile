# The one list of commands: people, .ci/run and GitHub Actions call these and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FULL := $(VENV)/.installed-with-every-extra
UV := $(shell command -v uv 2>/dev/null)
# which extras of pyproject.toml
USED := prefect,dev
EVERY := $(USED),databricks,spark,delta,embeddings,transformers,chat,docs
DATABRICKS := prefect,databricks
# $(call install,PYTHON,WHAT): what is pinned, compiled by all cores (pip would take one); where Python may not keep what
# it compiles (PYTHONDONTWRITEBYTECODE), each process would compile all libraries
install = $(if $(UV),uv pip install --quiet --python $(1),$(1) -m pip install --quiet --disable-pip-version-check --no-compile) -c constraints.txt $(2) \
  && { $(1) -m compileall -qq -j 0 $(patsubst %/bin/python,%/lib,$(1)) || true; }
# tests wait for processes much of their time: one worker more than there are cores, each of one thread: those of
# OpenMP wait for one another busily where cores are taken, and tests of small networks cost twice the CPU
WORKERS := OMP_NUM_THREADS=1 PYTEST_XDIST_AUTO_NUM_WORKERS=$$(( $$(getconf _NPROCESSORS_ONLN) + 1 ))
# where memory has room for what tests write, they do not wait for a disk: one commit of sqlite takes up to 20 ms there
SCRATCH := if [ "$$(df -Pk /dev/shm 2>/dev/null | awk 'END {print int($$4)}')" -gt 6000000 ] \
	  && awk '/MemAvailable/ {exit $$2 < 10000000}' /proc/meminfo && ! grep -q ' /dev/shm .*noexec' /proc/mounts; \
	then TMPDIR=$$(mktemp -d /dev/shm/mlops-tests-XXXXXX) && export TMPDIR && trap 'rm -rf "$$TMPDIR"' EXIT INT TERM; fi;

.PHONY: setup setup-databricks demo demo-databricks compiled test test-all selftest lint docs format bench bench-check screenshots wheel wheel-test afternoon newest-prefect lowest newest constraints clean

setup: $(STAMP)  ## only install

setup-databricks: $(STAMP)  ## and what `mlops databricks` needs
	@$(call install,$(BIN)/python,-e '.[$(DATABRICKS)]')

demo: $(STAMP)  ## the whole lifecycle on the bundled sample
	$(BIN)/mlops demo

demo-databricks: $(FULL)  ## the same on Databricks, emulated: every heavy step as a job, Unity Catalog as registry; FREE=1: of its Free Edition
	$(BIN)/python -m databricks_emulator.demo $(if $(FREE),--free-edition)

test: compiled  ## every test; needs no network
	@$(SCRATCH) $(WORKERS) $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=15

test-all: compiled  ## the same with the long versions of the fault tests, and in every registry
	@$(SCRATCH) $(WORKERS) TEST_KILLS=50 TEST_ROUNDS=200 TEST_EXAMPLES=200 $(BIN)/python -m pytest -m '' -n auto --dist loadfile --no-loadscope-reorder --durations=15

# where Python may not keep what it compiles (PYTHONDONTWRITEBYTECODE), each of the many processes would compile all of ours
compiled: $(FULL)
	@$(BIN)/python -m compileall -q cli databricks_emulator flows lifecycle mlops_lifecycle tasks

selftest: $(STAMP)  ## the gate must refuse planted challengers, by the rules of prod
	$(BIN)/mlops gate selftest --env prod

lint: $(FULL)  ## format, lint, types, floors, workflows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/actionlint .github/workflows/*.yml
	$(BIN)/hadolint Dockerfile
	$(BIN)/zizmor --offline --quiet --no-progress --persona auditor .github

docs: $(FULL)  ## the site of the docs, in build/site; fails where a link leads nowhere
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs build/site

bench: compiled  ## the reference job against a bare script; ROUNDS=5 takes about half an hour
	$(BIN)/python -m benchmarks.run --rounds $(or $(ROUNDS),5) --worker --write
	$(BIN)/python -m benchmarks.commands --rounds $(or $(ROUNDS),5) --write
	$(BIN)/python -m benchmarks.scale --rounds $(or $(ROUNDS),5) --write

bench-check: compiled  ## one round on many rows; fails where a ratio to plain libraries is above its limit
	$(BIN)/python -m benchmarks.scale --check

screenshots: $(STAMP)  ## the pictures of docs/operations.md, taken anew; needs Chromium
	@$(call install,$(BIN)/python,-e '.[screenshots]')
	$(BIN)/python docs/screenshots.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(STAMP)
	$(BIN)/python -m build --wheel --no-isolation

wheel-test: $(STAMP)  ## build the wheel, install it alone into an empty environment, run the command there
	rm -rf dist build/wheel-test && $(BIN)/python -m build --wheel --no-isolation --outdir dist >/dev/null
	$(BIN)/python -m venv build/wheel-test
	$(call install,build/wheel-test/bin/python,dist/*.whl)
	cd build/wheel-test && bin/mlops --help >/dev/null && bin/mlops config show >/dev/null && bin/mlops data list >/dev/null
	cp tests/docs/each_step.py build/wheel-test/ && cd build/wheel-test && bin/python each_step.py state
	! build/wheel-test/bin/python -c 'import prefect' 2>/dev/null
	@echo "The wheel runs in an empty environment, and so does each step of a job, without Prefect."

afternoon: $(STAMP)  ## what a team types on its first afternoon, from the wheel in an empty folder, with the time of each command
	rm -rf dist build/afternoon && $(BIN)/python -m build --wheel --no-isolation --outdir dist >/dev/null
	$(BIN)/python -m venv build/afternoon
	$(call install,build/afternoon/bin/python,"$$(echo dist/*.whl)[prefect]")
	$(BIN)/python -m benchmarks.afternoon --mlops build/afternoon/bin/mlops

newest-prefect: $(STAMP)  ## fails once the newest Prefect, with the newest of all it needs, schedules no run
	$(BIN)/python -m benchmarks.scheduled
	rm -rf build/newest-prefect && $(BIN)/python -m venv build/newest-prefect
	build/newest-prefect/bin/python -m pip install --quiet --disable-pip-version-check 'prefect<4'
	build/newest-prefect/bin/python -m benchmarks.scheduled

lowest:  ## a release with the lowest versions that pyproject.toml allows; needs uv
	$(call release-with,lowest,--resolution lowest-direct)

newest:  ## a release with the newest versions that pyproject.toml allows; needs uv
	$(call release-with,newest,--resolution highest)

# $(call release-with,NAME,HOW): resolve anew, install into an environment of its own, and take the sample all the way there
define release-with
	$(if $(UV),,$(error make $(1) needs uv on the PATH))
	rm -rf build/$(1) && mkdir -p build/$(1) && $(PYTHON) -m venv build/$(1)/env
	uv pip compile --quiet $(2) --only-binary :all: --python build/$(1)/env/bin/python --extra prefect \
	  --no-emit-index-url pyproject.toml -o build/$(1)/requirements.txt
	uv pip install --quiet --python build/$(1)/env/bin/python -r build/$(1)/requirements.txt
	uv pip install --quiet --python build/$(1)/env/bin/python --no-deps .
	PATH="$(CURDIR)/build/$(1)/env/bin:$$PATH" && cd "$$(mktemp -d)" && \
	  mlops data sample news.csv && mlops init news.csv --yes && mlops release
endef

constraints:  ## re-pin every dependency; needs uv
	$(if $(UV),,$(error make constraints needs uv on the PATH))
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o constraints.txt

clean:  ## remove the environment and caches, never your state
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@echo "Setting up $(VENV) (once; about 750 MB) ..."
	@[ -x $(BIN)/python ] || $(if $(UV),uv venv --quiet --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))
	@$(if $(UV),true,$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null)
	@$(call install,$(BIN)/python,-e '.[$(USED)]')
	@touch $@

$(FULL): $(STAMP)
	@echo "Adding what Databricks, Spark and models of language need (once; about 2 GB) ..."
	@$(call install,$(BIN)/python,-e '.[$(EVERY)]')
	@touch $@
