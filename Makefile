# make demo   install, then play the bundled clip through the engine; sound, picture and report in demo/
# make test   install, then everything that CI runs: lint, format, types, fast tests, slow tests
# make check  lint, format and types only
# make clean  remove what the above made
.POSIX:

PYTHON = python3
TORCH = torch==2.13.0
VENV = .venv
PY = $(VENV)/bin/python
PIP = $(PY) -m pip install --quiet --disable-pip-version-check

# Debian packages: the SoundFonts that the tests render with, MMA, which arranges generated songs, a browser, and a
# virtual sound card.
PACKAGES = timgm6mb-soundfont fluidr3mono-gm-soundfont mma chromium jackd2 libportaudio2

# A process on each core, a file of tests to one of them, so that what a file prepares is prepared once.
SHARED = -n logical --maxprocesses 8 --dist loadfile

DEMO_CLIP = bandmate/assets/demo/demo.flac
DEMO_FLAGS = --instrument Bass --seed 0

help:
	@sed -n 's/^# make /make /p' Makefile

# A virtual environment with torch, which the rest must not replace. Debian keeps ensurepip in a package of its own.
$(VENV)/.torch:
	@$(PYTHON) -c 'import sys; sys.exit("bandmate needs Python 3.11 or newer: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && apt-get install -y -qq python3-venv; \
		else \
			echo "python3 cannot make a virtual environment: install it first (Debian: apt-get install python3-venv)" >&2; exit 2; \
		fi; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(PIP) --editable '.[dev,train,midi,eval,cluster,live]'
	$(PIP) --no-deps tinysoundfont
	@touch $@

packages:
	@dpkg -s $(PACKAGES) >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends $(PACKAGES); \
		else \
			echo "the tests need SoundFonts and a virtual sound card: sudo apt-get install $(PACKAGES), or set BANDMATE_SOUNDFONTS to a folder" >&2; \
		fi; }

demo: $(VENV)/.demo
	@mkdir -p demo
	$(VENV)/bin/bandmate stream $(DEMO_CLIP) -o demo/accompaniment.wav $(DEMO_FLAGS) \
		--mix demo/mix.wav --plot demo/picture.png --json demo/report.json
	@echo "input          $(DEMO_CLIP)"
	@echo "accompaniment  demo/accompaniment.wav"
	@echo "both together  demo/mix.wav"
	@echo "picture        demo/picture.png"
	@echo "report         demo/report.json"

check: $(VENV)/.test
	PYTHON=$(PY) scripts/check

# All three run even when one fails; make fails if any did.
test: $(VENV)/.test packages
	@failed=0; \
	echo "== scripts/check"; PYTHON=$(PY) scripts/check || failed=1; \
	echo "== fast tests"; OMP_NUM_THREADS=1 $(PY) -m pytest -q -m 'not slow' $(SHARED) || failed=1; \
	echo "== slow tests"; $(PY) -m pytest -q -m slow || failed=1; \
	exit $$failed

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help packages demo check test clean
