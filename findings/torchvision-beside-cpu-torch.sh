#!/usr/bin/env bash
# torchvision 0.28.0, torch 2.13.0+cpu: `import torchvision` of the package index's wheel ends with a RuntimeError.
#
# The wheel is built for the CUDA build of torch. Beside the CPU build its library of compiled operators isn't loaded;
# that is passed over in silence, and then descriptions of operators are registered that aren't there: "operator
# torchvision::nms does not exist". pip sees nothing wrong, both builds being version 2.13.0 to it. Transforms, data sets
# and utils need no operator. Whoever imports torchvision if it is there, and expects an ImportError at most, breaks.
# Declaring the two operators that are described this way is enough.
#
# Seen (Python 3.11, x86-64 Linux):
#   alone: RuntimeError: operator torchvision::nms does not exist
#   with the operators declared: imported, and so is denoising-diffusion-pytorch 2.2.5, which uses its transforms
#
#     bash findings/torchvision-beside-cpu-torch.sh PYTHON      one with both, as `make pictures` makes build/rivals
set -euo pipefail
PYTHON=${1:-build/rivals/bin/python}
"$PYTHON" -c "import torchvision" 2>&1 | tail -1 || true
"$PYTHON" - <<'PYTHON'
import torch

declared = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision import datasets, transforms, utils

print("with the operators declared: imported")
PYTHON
