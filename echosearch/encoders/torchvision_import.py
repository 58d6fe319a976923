"""Import torchvision beside a CPU-only torch; does nothing where torchvision is whole.

PyPI's torchvision brings operators compiled against PyPI's (CUDA) torch. Beside a CPU build of torch they do not
load, and the import fails where it registers shape rules for two of them, `nms` and `qnms`. Nothing here uses
those operators, so their signatures are declared and the import is done again.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

_SCHEMA: Final = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_MISSING: Final = "operator torchvision::nms does not exist"


def import_torchvision() -> None:
    """Import torchvision, with the two signatures declared where exactly they are what is missing."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
        import torch

        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        torch.library.define("torchvision::nms", _SCHEMA)
        torch.library.define("torchvision::qnms", _SCHEMA)
        importlib.import_module("torchvision")
