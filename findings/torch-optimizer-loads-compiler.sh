#!/usr/bin/env bash
# PyTorch 2.13.0 (CPU): to make an optimiser is to load the compiler.
#
# `torch.optim.SGD([...])` of a single weight, compiled nowhere, brings several hundred modules into the process that
# `import torch` hadn't: torch._dynamo and sympy are among them. The optimisers' functions alone (`torch._foreach_*`,
# `torch._fused_adamw_`), which do the same arithmetic, bring none. So a command-line program that takes ten steps pays
# seconds for an optimiser object.
#
# Seen (Python 3.11, x86-64 Linux): 822 modules, torch._dynamo and sympy among them; by the functions 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch

assert torch.__version__.startswith("2.13.0"), torch.__version__
weight = torch.zeros(2)
before = set(sys.modules)
torch._foreach_add_([weight], [torch.ones(2)], alpha=-0.1)
steps = [torch.zeros(())]
torch._fused_adamw_(
    [weight], [torch.ones(2)], [torch.zeros(2)], [torch.zeros(2)], [], steps,
    lr=0.1, beta1=0.9, beta2=0.99, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
)
by_functions = set(sys.modules) - before
before = set(sys.modules)
torch.optim.SGD([torch.nn.Parameter(weight)], lr=0.1)
by_object = set(sys.modules) - before
print(f"by the functions: {len(by_functions)} modules; by making torch.optim.SGD: {len(by_object)}")
assert not by_functions, sorted(by_functions)[:5]
assert len(by_object) > 300, len(by_object)
assert {"torch._dynamo", "sympy"} <= by_object
PYTHON
