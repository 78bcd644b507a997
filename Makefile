# Every target makes the environment first when it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# Processes of the test run; each starts servers of its own. Tests wait: four keep two cores busy.
WORKERS ?= 4

.PHONY: env env-dev demo release check test test-slow test-properties test-random test-wheel test-clone image-test kubernetes-check platforms check-pythons test-engines test-dagster-latest system-packages soak kills simulated-hours growth fuzz screenshots docs site walk style lint words audit sbom bench lock clean

# What `make demo` uses: the package with its extras local, live, plots and web.
env: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.11 env"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --requirement requirements.lock
	$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

# What all other targets use on top: tests, linters, Ray, notebooks.
env-dev: $(DEV_STAMP)

$(DEV_STAMP): requirements-dev.lock $(STAMP)
	$(PIP) --require-hashes --requirement requirements-dev.lock
	@touch $@

# Fills the whole graph from generated samples and leaves the UI open; UI=0 stops at the summary.
demo: env
	$(BIN)/marketdata demo $(if $(filter 0,$(UI)),--no-ui,)

# Programs of Debian that are unpacked and not installed.
PROGRAMS := $(VENV)/system
# Compiled modules are written, whatever the environment says: hundreds of processes of the run import the same ones.
PYTEST := PYTHONDONTWRITEBYTECODE= PATH="$(CURDIR)/$(PROGRAMS):$$PATH" $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile \
  --no-loadscope-reorder --instafail --durations 10

# Databases of tests are in memory where 11 GB of it are free: waiting for a disk is a sixth of the time.
SCRATCH := $(shell test -w /dev/shm && df -Pk /dev/shm | awk 'NR == 2 && $$4 > 11e6 { print "/dev/shm" }')

# For every edit: style, types, and the tests that need no server.
check: style
	$(PYTEST) -m "not servers and not slow"

# Everything that a newcomer should see pass; with CPU=1 this and test-slow list the CPU seconds of files and tests, worst first.
test: env-dev system-packages
	$(if $(SCRATCH),TMPDIR=$(SCRATCH)) $(PYTEST) -m "not slow" $(if $(CPU),-p tests.cpu_times,)

# The long campaigns: many kills, hours of simulated schedules, faults for minutes; the wheel in an empty environment. With
# PART=1/2 half of their files.
test-slow: env-dev system-packages
	$(if $(SCRATCH),TMPDIR=$(SCRATCH)) $(PYTEST) -m slow --ignore tests/wheel/test_clone.py $(if $(PART),--part $(PART),) $(if $(CPU),-p tests.cpu_times,)

# All property tests with 100 examples instead of 15, slow ones included.
test-properties: env-dev system-packages
	$(if $(SCRATCH),TMPDIR=$(SCRATCH)) $(PYTEST) -m hypothesis --hypothesis-profile thorough

# The property tests with other examples each time: make test-random SEED=7 repeats a run. ONLY=tests/bars for a folder.
test-random: SEED := $(or $(SEED),$(shell od -An -N4 -tu4 /dev/urandom | tr -d ' '))
test-random: env-dev
	@echo "SEED=$(SEED)"
	$(PYTEST) --hypothesis-profile random --hypothesis-seed $(SEED) -m "not slow" $(ONLY)

# Chromium, Redis and Prometheus for the tests that use them: from Debian as root or in CI; elsewhere those tests skip.
system-packages: env-dev
	@PATH="$(CURDIR)/$(PROGRAMS):$$PATH" .ci/system_packages.sh $(PROGRAMS)

# Builds the image, starts every service of the compose file on a Docker Engine, and uses them: IMAGE_TEST_STARTS=20 first
# starts. Without an engine it installs Debian's for that time, as root or in CI.
image-test: env-dev system-packages
	IMAGE_TEST=1 .ci/with_docker.sh $(CURDIR)/$(PROGRAMS) $(BIN)/python -m pytest -m slow -s -v tests/image

# Policies on all manifests, and on what Dagster's chart makes of values.yaml where CHART names its folder; the tools have
# an environment of their own. The schemas of Kubernetes are checked by tests/kubernetes.
KUBERNETES := $(VENV)/kubernetes
kubernetes-check: env-dev
	@test -x $(KUBERNETES)/bin/checkov || { $(PYTHON) -m venv $(KUBERNETES) && \
	  $(KUBERNETES)/bin/pip install --quiet --disable-pip-version-check "checkov>=3.3,<4" "helm-python-sdk>=0.2.2,<0.3"; }
	rm -rf $(KUBERNETES)/manifests && mkdir -p $(KUBERNETES)/manifests
	$(if $(CHART),$(KUBERNETES)/bin/python tests/kubernetes/render_chart.py $(CHART) kubernetes/values.yaml >$(KUBERNETES)/manifests/chart.yaml)
	$(BIN)/python -m tests.kubernetes.manifests $(KUBERNETES)/manifests
	$(KUBERNETES)/bin/checkov --config-file kubernetes/checkov.yaml --directory $(KUBERNETES)/manifests
	$(if $(CHART),MARKETDATA_TEST_DAGSTER_CHART=$(abspath $(CHART))) $(BIN)/python -m pytest tests/kubernetes/test_manifests.py tests/kubernetes/test_chart_values.py

# Resolves every dependency for five platforms and four Pythons from wheels alone, and writes docs/reference/platforms.md.
platforms: env-dev
	$(PIP) uv
	$(BIN)/python .ci/platforms.py $(BIN)/uv

# The tests that need no server, on each Python from 3.11 to 3.14 on the PATH or of pyenv; an environment for each is made in
# .venv, and the counts are written to docs/reference/platforms.md: make check-pythons ONLY=3.13 for one.
check-pythons: env-dev
	$(PIP) uv
	WORKERS=$(WORKERS) PYTHONDONTWRITEBYTECODE= $(BIN)/python .ci/pythons.py $(BIN)/uv $(ONLY)

# The tests of each database on every server that a package brings or a variable names, and docs/reference/engines.md:
# make test-engines ONLY=postgres-16 TESTS=tests/stores for a part.
test-engines: env-dev system-packages
	PYTHONDONTWRITEBYTECODE= PATH="$(CURDIR)/$(PROGRAMS):$$PATH" $(BIN)/python -m tests.engines --workers $(WORKERS) $(ONLY) $(if $(TESTS),--tests $(TESTS),)

# Two simulated days of all schedules and sensors, with faults from a seed: make soak SEED=7 HOURS=6.
soak: env-dev
	$(BIN)/python -m tests.soak $(if $(SEED),--seed $(SEED),) $(if $(HOURS),--hours $(HOURS),)

# Kills processes of a real stack at random while it loads, then asks what is left over or lost: make kills SEED=7 KILLS=200.
kills: env-dev
	$(BIN)/python -m tests.kills $(if $(SEED),--seed $(SEED),) $(if $(KILLS),--kills $(KILLS),)

# A simulated day of seven venues and their faults, and of all markets from one address: make simulated-hours SEED=7 HOURS=72.
simulated-hours: env-dev
	SIMULATED_HOURS=$(or $(HOURS),24) $(if $(SEED),SIMULATED_SEED=$(SEED),) STORM_HOURS=$(or $(HOURS),24) \
	  $(PYTEST) -m slow tests/simulated

# A stack for half an hour under its schedules, with a delivery each minute, and what of it grows: make growth MINUTES=30.
growth: env-dev
	$(BIN)/python -m tests.kills.growth $(if $(SEED),--seed $(SEED),) $(if $(MINUTES),--minutes $(MINUTES),)

# Changed files and answers for every parser, in processes with little memory: make fuzz FUZZ_SEED=7 SECONDS=60 ONLY=flow.
fuzz: env-dev
	$(if $(FUZZ_SEED),FUZZ_SEED=$(FUZZ_SEED)) $(BIN)/python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS),) $(if $(ONLY),--only "$(ONLY)",)

# Retakes the pictures of the documentation, from a separate demo.
screenshots: env-dev system-packages
	PATH="$(CURDIR)/$(PROGRAMS):$$PATH" $(BIN)/python -m tests.ui.shots docs/images

# Generates docs/reference from the code.
docs: env-dev
	$(BIN)/python -m docs.generate

# The manual as a site with search in build/site; a broken link or anchor fails. The generator has an environment of its own.
SITE := $(VENV)/site
site:
	@test -x $(SITE)/bin/zensical || { $(PYTHON) -m venv $(SITE) && \
	  $(SITE)/bin/pip install --quiet --disable-pip-version-check "zensical>=0.0.73,<0.1"; }
	$(SITE)/bin/zensical build --clean --strict

# A newcomer's walk: a fresh clone, make demo, every command of the manual as printed; TESTS=1 runs make test in it too.
walk: env-dev
	$(BIN)/python -m tests.docs.walk $(if $(TESTS),--with-tests,)

# What a pull request has to pass beside the tests.
lint: style audit

# The same without asking the network.
style: env-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/words.py
	$(BIN)/python .ci/words.py --package

# Dialect words in docs, command line and package, with the plain term for each (.ci/words.txt).
words:
	$(PYTHON) .ci/words.py
	$(PYTHON) .ci/words.py --package

# Checks every lock for known vulnerabilities, with a tool in a separate environment; fails when no service responds.
AUDIT := $(VENV)/audit/bin/pip-audit
audit: env-dev
	@test -x $(AUDIT) || { $(PYTHON) -m venv $(VENV)/audit && \
	  $(VENV)/audit/bin/pip install --quiet --disable-pip-version-check "pip-audit>=2.9,<3"; } || true
	$(BIN)/python .ci/audit.py $(AUDIT) requirements.lock requirements-dev.lock docker/requirements.lock docker/requirements-kubernetes.lock

# The bill of materials of the image, CycloneDX JSON, from its lock; the tool is in a separate environment.
SBOM := $(VENV)/sbom/bin/cyclonedx-py
sbom: env
	@test -x $(SBOM) || { $(PYTHON) -m venv $(VENV)/sbom && \
	  $(VENV)/sbom/bin/pip install --quiet --disable-pip-version-check "cyclonedx-bom>=7.2,<8"; }
	mkdir -p dist
	$(SBOM) requirements --pyproject pyproject.toml --output-reproducible --validate --output-file dist/sbom.json docker/requirements.lock

# make bench ONLY=bars runs one domain; BENCH_SMALL=1 runs it on tiny inputs, without a verdict.
bench: env-dev
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY),)

# Builds the wheel, installs it with the extra `local` into an empty environment, and runs the demo in an empty folder.
test-wheel: env-dev
	$(BIN)/python -m pytest -p no:cacheprovider tests/wheel/test_wheel.py

# A fresh clone, installed by pip and by uv with the newest versions that an index has, so that its outcome depends on the day.
test-clone: env-dev
	$(BIN)/python -m pytest -p no:cacheprovider tests/wheel/test_clone.py

# Definitions and contract tests on the newest version of Dagster of which the index has all parts, in an environment of its
# own that borrows all other packages and programs from the first.
LATEST := $(VENV)/dagster-latest
test-dagster-latest: env-dev
	$(PYTHON) -m venv --clear $(LATEST)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	  >"$$($(LATEST)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/others.pth"
	$(LATEST)/bin/pip install --quiet --disable-pip-version-check --upgrade setuptools dagster dagster-webserver "dagster-postgres>=0.29.27" dagster-dg-cli
	$(LATEST)/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	for program in $(CURDIR)/$(BIN)/*; do test -e $(LATEST)/bin/$${program##*/} || ln -s $$program $(LATEST)/bin/; done
	$(LATEST)/bin/dagster --version
	PYTHONPATH=$(CURDIR) $(LATEST)/bin/python -m pytest tests/test_dagster_contract.py tests/test_dagster_internals.py tests/test_project.py tests/repair \
	  tests/deploy/test_code_server.py tests/deploy/test_dagster_yaml.py tests/test_plain_dagster.py

# Checks the changelog and the tag, and builds the wheel and the sdist of the version in pyproject.toml into dist/.
release: env
	.ci/release.sh $(BIN)/python

# Resolves the newest versions into the locks, with hashes and without addresses: what the demo uses, what all targets
# use, and what the image of docker/Dockerfile has, alone and with pods for runs.
COMPILE := $(BIN)/uv pip compile pyproject.toml --group build --python-version 3.11 --generate-hashes --quiet \
  --no-emit-index-url --no-strip-extras --no-header --extra live --extra plots --extra web
lock: env
	$(PIP) uv
	$(COMPILE) --extra local --extra ray --extra notebooks --extra excel --extra remote --extra kubernetes --extra containers --group dev --upgrade --output-file requirements-dev.lock
	$(COMPILE) --extra local --constraint requirements-dev.lock --output-file requirements.lock
	$(COMPILE) --extra containers --constraint requirements-dev.lock --no-annotate --output-file docker/requirements.lock
	$(COMPILE) --extra containers --extra kubernetes --constraint requirements-dev.lock --no-annotate --output-file docker/requirements-kubernetes.lock

clean:
	rm -rf $(VENV) build dist *.egg-info
