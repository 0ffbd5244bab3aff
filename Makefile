# make demo: install, train on the bundled digits, and draw every kind of picture. make test, make lint: what CI runs.
# make endurance: what a run survives, counted in full; takes a quarter of an hour and writes docs/endurance.md.
# make bench: how fast it is beside others, with MNIST in GENKIT_DATA; takes an hour on an idle machine and writes
# docs/speed.md.
# make pictures: what its pictures look like beside others', with CIFAR-10 and MNIST in GENKIT_DATA; takes some four
# hours on an idle machine, can be stopped and called again, and writes docs/pictures.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GENKIT := $(BIN)/genkit
DEMO := demo
RIVALS := build/rivals

.PHONY: install demo test endurance bench pictures lint format clean

install: $(VENV)/installed

# Rewritten when what is to be installed changes.
$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	@echo "installing genkit and PyTorch into $(VENV); the first time, this takes some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[analysis,demo,dev,export,formats]'
	touch $@

demo: install
	GENKIT=$(GENKIT) OUT=$(DEMO) sh experiments/demo.sh

# Two tests at a time, of one thread each, take less than one with two.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test: install
	$(PYTEST) --dist worksteal

endurance: install
	GENKIT_ENDURANCE=full $(PYTEST) --dist loadfile tests/endurance

# ROWS=vae-128,command measures these alone, and leaves the others of the page as they are.
bench: install
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/speed.py $(if $(ROWS),--rows $(ROWS))

# ROWS=cifar,faces measures these alone; EXAMPLE=…/examples/dcgan/main.py lets that one take part,
# SCALE=0.05 tries everything out.
pictures: install $(RIVALS)/installed
	$(BIN)/python benchmarks/pictures/make.py --rivals $(RIVALS)/bin/python $(if $(ROWS),--rows $(ROWS)) \
		$(if $(EXAMPLE),--example $(EXAMPLE)) $(if $(SCALE),--minutes-scale $(SCALE))

# An environment of their own: beside the CPU build of torch, torchvision of the package index can't be imported as it
# is, which would break whatever imports it if it is there.
$(RIVALS)/installed: constraints.txt
	$(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/pip install --quiet --constraint constraints.txt denoising-diffusion-pytorch torchvision
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
