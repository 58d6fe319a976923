"""torchvision beside a CPU torch: nothing is touched where it is whole, and only the one known error is remedied."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

FAKE_TORCH = """
class library:
    defined = []
    @classmethod
    def define(cls, name, schema):
        cls.defined.append([name, schema])
"""
"""Stands for torch, so that a test takes no seconds; writes down the operators that are declared."""

DRIVER = """
import json, sys
from echosearch.encoders.torchvision_import import import_torchvision

error = None
try:
    import_torchvision()
    import_torchvision()  # a second call finds it imported
except BaseException as raised:
    error = [type(raised).__name__, str(raised)]
print(json.dumps({
    "error": error,
    "defined": sys.modules["torch"].library.defined if "torch" in sys.modules else None,
    "torchvision": {name: value for name, value in vars(sys.modules.get("torchvision")).items() if name.isupper()}
        if "torchvision" in sys.modules else None,
    "modules": sorted(name for name in sys.modules if name.split(".")[0] == "torchvision"),
}))
"""


def import_with(tmp_path: Path, torchvision: str, **submodules: str) -> dict[str, Any]:
    """Call `import_torchvision` twice in a fresh process that sees these packages instead of the real ones."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(torchvision)
    for name, source in submodules.items():
        (package / f"{name}.py").write_text(source)
    (tmp_path / "torch.py").write_text(FAKE_TORCH)
    told: dict[str, Any] = json.loads(run_python(DRIVER, f"{tmp_path}{os.pathsep}{ROOT}"))
    return told


def run_python(code: str, python_path: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_declared_where_torchvision_is_whole(tmp_path: Path) -> None:
    told = import_with(tmp_path, "WHOLE = True")
    assert told["error"] is None
    assert told["torchvision"] == {"WHOLE": True}
    assert told["defined"] is None  # torch was not even imported


def test_on_exactly_that_error_the_signatures_are_declared_and_the_import_is_done_again(tmp_path: Path) -> None:
    told = import_with(
        tmp_path,
        """
from torchvision import half
import torch
if [name for name, _ in torch.library.defined] != ["torchvision::nms", "torchvision::qnms"]:
    raise RuntimeError("operator torchvision::nms does not exist")
WHOLE = True
BORN = half.BORN
""",
        half="import torch\nBORN = len(torch.library.defined)",
    )
    assert told["error"] is None
    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    assert told["defined"] == [["torchvision::nms", signature], ["torchvision::qnms", signature]]  # each once
    assert told["torchvision"] == {"WHOLE": True, "BORN": 2}  # the half-imported submodule was dropped, too
    assert told["modules"] == ["torchvision", "torchvision.half"]


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (
            'RuntimeError("operator torchvision::roi_align does not exist")',
            ["RuntimeError", "operator torchvision::roi_align does not exist"],
        ),
        (
            'RuntimeError("Detected that PyTorch and torchvision were compiled with different CUDA versions")',
            ["RuntimeError", "Detected that PyTorch and torchvision were compiled with different CUDA versions"],
        ),
        ('ImportError("libcudart.so.13: no such file")', ["ImportError", "libcudart.so.13: no such file"]),
    ],
)
def test_any_other_error_is_raised_unchanged(tmp_path: Path, raised: str, sentence: list[str]) -> None:
    told = import_with(tmp_path, f"import torch\nraise {raised}")
    assert told["error"] == sentence
    assert told["defined"] == []


def test_an_import_that_fails_again_is_not_tried_for_ever(tmp_path: Path) -> None:
    told = import_with(tmp_path, 'import torch\nraise RuntimeError("operator torchvision::nms does not exist")')
    assert told["error"] == ["RuntimeError", "operator torchvision::nms does not exist"]
    assert [name for name, _ in told["defined"]] == ["torchvision::nms", "torchvision::qnms"]


@pytest.mark.slow
def test_the_real_torchvision_imports_and_works_here() -> None:
    told = json.loads(
        run_python(
            """
import json
try:
    import torchvision
    whole = True
except RuntimeError as error:
    assert "operator torchvision::nms does not exist" in str(error), error
    whole = False

import torch
define, defined = torch.library.define, []
def recording_define(name, schema):
    defined.append(name)
    define(name, schema)
torch.library.define = recording_define

from echosearch.encoders.torchvision_import import import_torchvision
import_torchvision()
import open_clip
from torchvision.transforms import functional
picture = torch.arange(16, dtype=torch.float32).reshape(1, 4, 4)
cropped = functional.center_crop(picture, [2, 2]).tolist()
print(json.dumps({"whole": whole, "defined": defined, "cropped": cropped, "open_clip": len(open_clip.list_models())}))
""",
            str(ROOT),
        )
    )
    assert told["defined"] == ([] if told["whole"] else ["torchvision::nms", "torchvision::qnms"])
    assert told["cropped"] == [[[5, 6], [9, 10]]]
    assert told["open_clip"] > 50
