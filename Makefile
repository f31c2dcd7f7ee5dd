# make demo      set up, then teach a small detector from a large one and show what it gained
# make test      set up, then run every quick test, on all cores
# make test-all  the slow ones too
# make browser   Chromium and axe-core, for the tests of reports, which are skipped without
# make test-cuda  on a machine with a GPU: what needs one, and all tests of functions and losses there
# make lint      ruff, as pre-commit runs it
# PYTHON=/path/to/python3.11 chooses the interpreter of .venv (3.11 or 3.12).
PYTHON ?=
export PYTHON
RUN = .venv/bin/python
# A worker a core, up to eight. `make test WORKERS=` runs the tests one after the other.
WORKERS = -n auto

.PHONY: setup demo test test-all browser test-cuda lint

setup:
	@bash tools/setup_env.sh

demo: setup
	@$(RUN) tools/demo.py

test: setup
	@$(RUN) -m pytest -q $(WORKERS)

# The slow ones measure memory and wait for processes that die: one after the other.
test-all: test
	@$(RUN) -m pytest -q -m slow

browser: setup
	@bash tools/setup_browser.sh

test-cuda: setup
	@$(RUN) -c "import torch; assert torch.cuda.is_available(), 'torch sees no CUDA device'"
	@$(RUN) -m pytest -q -m cuda
	@$(RUN) -m pytest -q -m 'not slow and not cuda' tests/functional tests/losses

lint: setup
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check .
