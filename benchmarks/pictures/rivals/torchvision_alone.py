"""Import torchvision where its compiled operators can't be loaded.

The wheel on the package index is built for the CUDA build of torch. Beside the CPU build its library of operators isn't
loaded, and the import ends with "operator torchvision::nms does not exist", though neither transforms nor data sets
need any. To declare the two that it describes is enough.
"""

from __future__ import annotations

import torch

try:
    import torchvision
except RuntimeError as error:
    if "does not exist" not in str(error):
        raise
    declared = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401
