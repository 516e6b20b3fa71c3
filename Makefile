# edge-moe. `make demo` and `make test` need only Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
READY := $(VENV)/.ready
# torch's build for processors alone, without 3.4 GB of CUDA: taken where there is no NVIDIA GPU and this can be reached.
TORCH_CPU := https://download.pytorch.org/whl/cpu
# Experts of the demo that train at once: one a core, up to all four.
JOBS := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))

.PHONY: demo test test-devices devices-ready devices lint types env bench wheel clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edge-moe needs Python 3.11 or newer; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --timeout 5 --retries 0 --no-deps -c constraints.txt \
	    --index-url $(TORCH_CPU) torch torchvision >/dev/null 2>&1 || true; fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

env: $(READY)

# Every step makes its folder whole or not at all, so that an interrupted demo goes on where it was. A checkpoint of other
# images, such as an earlier demo left, is replaced, and with it the bundle.
# The base stops after two passes: after five it knows its training images, and experts trained on the same ones mend
# nothing on others. Experts train as long as it did: an epoch of theirs is a K-th of one of the base. One thread a
# process: on layers this small two gain nothing, and where the other core is busy they wait for each other without end.
demo: $(READY)
	grep -qs cluttered-digits $(DEMO)/checkpoint/config.json || OMP_NUM_THREADS=1 $(BIN)/edge-moe train cluttered-digits \
	  -o $(DEMO)/checkpoint --force --experts 4 --jobs $(JOBS) --augment none --batch-size 40 \
	  --epochs 2 --learning-rate 0.05 --expert-epochs 8 --expert-learning-rate 0.03
	test $(DEMO)/bundle -nt $(DEMO)/checkpoint || \
	  $(BIN)/edge-moe convert $(DEMO)/checkpoint --data cluttered-digits -o $(DEMO)/bundle --force
	$(BIN)/edge-moe verify $(DEMO)/bundle --quiet
	$(BIN)/edge-moe bench $(DEMO)/bundle --data cluttered-digits -o $(DEMO)/report --force
	@printf '\nmade: %s\nopen %s in a browser\n' "$(DEMO)/checkpoint/  $(DEMO)/bundle/  $(DEMO)/report/" \
	  "$(DEMO)/report/report.html"

test: $(READY)
	$(BIN)/python -m pytest

# What needs more than the environment: other processors by emulation, system calls watched, a browser, the Android demo.
# None is skipped; but Qualcomm's tools are under its AI Stack License, to which a person has to agree: without
# ACCEPT_LICENCE=yes their tests are left out, and that is said.
DEVICE_TESTS :=
ACCEPT_LICENCE ?=
AGREED := $(filter yes,$(ACCEPT_LICENCE))
QNN_TESTS := tests/devices/test_qnn.py
test-devices: devices-ready
	$(BIN)/python -m pytest -m devices $(DEVICE_TESTS) $(if $(AGREED),,--ignore=$(QNN_TESTS)); code=$$?; \
	$(if $(AGREED),,echo "left out: $(QNN_TESTS), for Qualcomm's tools are under its AI Stack License; once you agree to it: make test-devices ACCEPT_LICENCE=yes";) \
	exit $$code

devices-ready: $(READY) devices
	$(BIN)/edge-moe devices setup browser
	$(BIN)/edge-moe devices setup ethos-u
	$(if $(AGREED),$(BIN)/edge-moe devices setup qnn --accept-licence)

# The programs that they need, by their Debian packages: installed where they are missing and that is allowed.
DEVICES := qemu-x86_64:qemu-user strace:strace chromium:chromium chromedriver:chromium-driver sshd:openssh-server \
  javac:openjdk-17-jdk-headless mvn:maven apksigner:apksigner
devices:
	@missing=; for pair in $(DEVICES); do PATH="$$PATH:/usr/sbin" command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair#*:}"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "test-devices needs programs that are not here; install them: sudo apt-get install$$missing" >&2; exit 1; fi; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# converters/ and benchmarks/ get their place in the package when it is installed, so mypy reads an installed copy; and the
# studies, which no wheel has, at theirs.
types: $(READY)
	rm -rf build/types build/lib
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --target build/types .
	cp -R benchmarks/studies build/types/edge_moe/benchmarks/
	cd build/types && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p edge_moe
	rm -rf build/types build/lib

# The full-size ratios of the README, on an otherwise idle machine. Half an hour.
bench: $(READY)
	$(BIN)/python -m edge_moe.benchmarks.studies.recipes -o build/speed
	$(BIN)/python -m edge_moe.benchmarks.studies.speed -o build/speed
	$(BIN)/python -m edge_moe.benchmarks.studies.footprint -o build/speed
	$(BIN)/python -m edge_moe.benchmarks.studies.waking -o build/speed

# One file that pip installs anywhere: docs/installing.md.
wheel: $(READY)
	rm -rf build/lib
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	rm -rf build/lib
	@ls dist/*.whl

clean:
	rm -rf build dist $(VENV)
