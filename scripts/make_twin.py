"""Write a random twin of EchoCLIP: its architecture with random weights, as a folder for `local-dir:`.

    python scripts/make_twin.py .cache/echo-clip-twin

The twin runs the real way (config, safetensors, tokenizer, preprocessing) at the real cost. Its weights are
random: look-alikes mean something, a text ranking does not. Nothing is written when the folder is there already.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

from echosearch.encoders.torchvision_import import import_torchvision

NOTICE = (
    "The weights are random (a twin of EchoCLIP without its training): look-alikes mean something, "
    "a text ranking means nothing yet."
)


def make_twin(folder: Path, architecture: str = "convnext_base", seed: int = 0) -> None:
    """Write config, weights and side-car; the same seed gives the same tensors."""
    import_torchvision()
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    model = open_clip.create_model(architecture, pretrained=None)
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
    partial = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    partial.mkdir(parents=True)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, partial / "open_clip_model.safetensors")
    (partial / "open_clip_config.json").write_text(json.dumps(config, indent=2))
    (partial / "echosearch.json").write_text(json.dumps({"preset": "echo-clip", "notice": NOTICE}, indent=2))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if (arguments.folder / "echosearch.json").is_file():
        print(f"{arguments.folder} is there already")
        return
    make_twin(arguments.folder, seed=arguments.seed)
    print(f"wrote a random twin of EchoCLIP to {arguments.folder}")


if __name__ == "__main__":
    main()
