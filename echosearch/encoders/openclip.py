"""open_clip models as an encoder backend. The only module that imports torch and open_clip.

Weights are always read from a folder or file that was found before: open_clip itself goes on with random weights
where it finds none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from echosearch.encoders.encoder import Encoder
from echosearch.encoders.presets import OPEN_CLIP, Evidence, Preset, recognise
from echosearch.encoders.torchvision_import import import_torchvision
from echosearch.errors import DeviceUnavailable, EncoderFailed, MissingExtra, ModelUnavailable, UnknownEncoder, nearest
from echosearch.types import EncoderCard, ModelRequest, Numerics, PreprocessSpec, Recipe, Space

if TYPE_CHECKING:
    import torch


_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_FITS: dict[str, Literal["resize-crop", "resize-pad", "squash"]] = {
    "shortest": "resize-crop",
    "longest": "resize-pad",
    "squash": "squash",
}
_INTERPOLATIONS = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}  # as open_clip reads them


def load_named(request: ModelRequest, name: str, weights: str, decoder: str, asked: Preset | None) -> Encoder:
    """An architecture of open_clip with a pretrained tag or a checkpoint file: `ARCH/TAG`."""
    import_torchvision()
    import open_clip

    architecture, _, tag = name.partition("/")
    config = open_clip.get_model_config(architecture)
    if config is None:
        near = nearest(architecture, open_clip.list_models())
        raise UnknownEncoder(f"open_clip has no architecture {architecture!r}; {near}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not tag:
        raise UnknownEncoder(
            f"open_clip:{architecture} needs weights: open_clip:{architecture}/TAG with one of "
            f"{', '.join(tags) or '-'}, or with the path of a checkpoint file"
        )
    if not open_clip.get_pretrained_cfg(architecture, tag) and not Path(tag).is_file():
        raise UnknownEncoder(f"open_clip:{architecture} has no weights {tag!r}; {nearest(tag, tags)}")
    return load_model(request, architecture, tag, Evidence(weights, config), decoder, asked, None)


def load_model(
    request: ModelRequest,
    address: str,
    tag: str | None,
    evidence: Evidence,
    decoder: str,
    asked: Preset | None,
    notice: str | None,
) -> Encoder:
    """The model at an address of open_clip's, with a tag or file of weights if it has one, as the preset that it is."""
    import_torchvision()
    import open_clip
    import torch

    device, weights = _device(request.device), evidence.address
    with _named_errors(weights), _quiet():
        if evidence.config.get("text_cfg", {}).get("hf_tokenizer_name"):
            _require_transformers(weights)
        model = open_clip.create_model(
            address,
            pretrained=tag,
            precision="fp32",
            device="cpu",
            weights_only=True,
            require_pretrained=True,
        )
        tokenizer = open_clip.get_tokenizer(address)
        model.eval()
        space = Space(
            _tensors_sha256(model.state_dict()),
            json.dumps(_without_none(dict(evidence.config)), sort_keys=True),
            _tokenizer_name(tokenizer),
            str(getattr(getattr(tokenizer, "clean_fn", None), "__name__", "none")).removeprefix("_"),
        )
        preset, why = recognise(replace(evidence, tensors_sha256=space.tensors_sha256), asked.name if asked else None)
        spec = _preprocess_spec(open_clip.get_model_preprocess_cfg(model), preset, request.preprocess)
    card = EncoderCard(
        name=request.name if preset.name == OPEN_CLIP else preset.name,
        weights=weights,
        dim=_embedding_size(model, tokenizer, evidence),
        recipe=Recipe(space, spec, request.sampling or preset.sampling),
        numerics=Numerics(
            request.precision,
            device.type,
            torch.__version__,
            decoder,
            f"Python {platform.python_version()}, open_clip {open_clip.__version__}, {platform.machine()}",
        ),
        logit_scale=float(model.logit_scale.detach().exp()),
        notice=" ".join(filter(None, (notice, preset.notice))) or None,
        recognised=f"{preset.name} by {why}",
    )
    dtype = getattr(torch, _DTYPES[request.precision])
    backend = _OpenClipBackend(model.to(device=device, dtype=dtype), tokenizer, card, device, dtype)
    return Encoder(backend, batch_frames=16 if device.type == "cpu" else 256)


class _OpenClipBackend:
    """See the module."""

    def __init__(self, model: Any, tokenizer: Any, card: EncoderCard, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        self.card = card
        self._model, self._tokenizer, self._device, self._dtype = model, tokenizer, device, dtype
        spec = card.recipe.preprocess
        self._mean = torch.tensor(spec.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(spec.std, device=device).view(1, 3, 1, 1)

    def encode_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Scale, normalise and embed (B, 3, S, S) uint8 as (B, D) float32."""
        with _out_of_memory(len(pixels)):
            return self.encode_tensor(self.tensor(pixels))

    def tensor(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Pixels (B, 3, S, S) uint8 as the model takes them: scaled to 0-1, less mean, over std."""
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device).float().div(255)
        return batch.sub(self._mean).div(self._std).to(self._dtype)

    def encode_tensor(self, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """Embed what `tensor` gave as (B, D) float32."""
        import torch

        with torch.inference_mode():
            return self._as_numpy(self._model.encode_image(batch))

    def encode_text(self, phrases: Sequence[str]) -> tuple[npt.NDArray[np.float32], list[str]]:
        """Embed P phrases as (P, D) float32, with the words that each lost at the end of the context."""
        import torch

        with torch.inference_mode(), _out_of_memory(len(phrases)):
            tokens = self._tokenizer(list(phrases)).to(self._device)
            rows = self._as_numpy(self._model.encode_text(tokens))
        return rows, [words_cut(self._tokenizer, phrase) for phrase in phrases]

    @staticmethod
    def _as_numpy(rows: torch.Tensor) -> npt.NDArray[np.float32]:
        return cast("npt.NDArray[np.float32]", rows.float().cpu().numpy())


def words_cut(tokenizer: Callable[..., Any], phrase: str) -> str:
    """The words of a phrase that a tokenizer's context does not hold whole, or ''.

    A phrase is cut when a longer context gives other tokens within the first `context_length`.
    """
    context = int(tokenizer.context_length)  # type: ignore[attr-defined]

    def is_cut(text: str) -> bool:
        held = tokenizer([text])[0]
        longer = tokenizer([text], context_length=context + 8)[0]
        return bool((held != longer[:context]).any())

    if not is_cut(phrase):
        return ""
    words = phrase.split()
    whole = bisect_left(range(1, len(words)), True, key=lambda count: is_cut(" ".join(words[:count])))
    return " ".join(words[whole:])


def _preprocess_spec(config: dict[str, Any], preset: Preset, given: PreprocessSpec | None) -> PreprocessSpec:
    """The model's own validation transform, with what the preset, or the way that is given, does in another way."""
    size = config["size"]
    if not isinstance(size, int):
        if size[0] != size[1]:
            raise ModelUnavailable(f"models with pictures that are not square ({size}) are not supported")
        size = size[0]
    for key, known in (("resize_mode", _FITS), ("interpolation", _INTERPOLATIONS)):
        if config[key] not in known:
            raise ModelUnavailable(f"the model's {key} is one of {', '.join(known)}, not {config[key]!r}")
    values: dict[str, Any] = {
        "fit": _FITS[config["resize_mode"]],
        "resizer": "pillow",
        "interpolation": _INTERPOLATIONS[config["interpolation"]],
        "fill": int(config["fill_color"] or 0),
    }
    own = {"size": size, "mean": tuple(config["mean"]), "std": tuple(config["std"])}
    return replace(given, **own) if given else PreprocessSpec(**own, **values | preset.preprocess)


def _tensors_sha256(tensors: dict[str, torch.Tensor]) -> str:
    """Digest of sorted names, shapes, types and bytes: equal for hub, folder, safetensors and pickled weights."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tuple(values.shape)}\0{values.dtype}\0".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def _tokenizer_name(tokenizer: Any) -> str:
    """A tokenizer's identity: its kind, a digest of its vocabulary, and its context."""
    digest = hashlib.sha256(json.dumps(sorted(_vocabulary(tokenizer).items())).encode()).hexdigest()
    return f"{type(tokenizer).__name__} {digest[:16]} context {tokenizer.context_length}"


def _vocabulary(tokenizer: Any) -> dict[str, int]:
    own = getattr(tokenizer, "encoder", None)
    return cast("dict[str, int]", tokenizer.tokenizer.get_vocab() if own is None else own)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in values.items()
        # open_clip adds this one while it loads; it says nothing of the architecture.
        if value is not None and key != "timm_model_pretrained"
    }


def _embedding_size(model: Any, tokenizer: Any, evidence: Evidence) -> int:
    """Dimensions of an embedding. ModelUnavailable where the text tower is not made for what the tokenizer gives."""
    import torch

    last, context = max(_vocabulary(tokenizer).values()), tokenizer.context_length
    size = evidence.config.get("text_cfg", {}).get("vocab_size", last + 1)
    try:
        with torch.inference_mode():
            dim = int(model.encode_text(torch.full((1, context), last)).shape[1])
    except (IndexError, RuntimeError):
        dim = 0
    # A tokenizer of the model's own may leave rows of its tower unused; open_clip's own is made for one size.
    if not dim or (hasattr(tokenizer, "encoder") and size != last + 1):
        raise ModelUnavailable(
            f"{evidence.address}: its text tower has {size} tokens and a context of {model.context_length}, and its "
            f"tokenizer, {type(tokenizer).__name__}, {last + 1} and {context}: these weights want another tokenizer"
        )
    return dim


def _device(wanted: str) -> torch.device:
    import torch

    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable("torch sees no CUDA device here; use --device cpu, or install a CUDA build")
    return torch.device(wanted)


def _require_transformers(weights: str) -> None:
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            f"{weights} brings a tokenizer that needs the package transformers: pip install 'echosearch[transformers]'"
        ) from error


@contextmanager
def _named_errors(weights: str) -> Iterator[None]:
    """What open_clip and torch raise for weights that do not fit or do not load, as ModelUnavailable."""
    import pickle

    from safetensors import SafetensorError

    try:
        yield
    except pickle.UnpicklingError as error:
        raise ModelUnavailable(
            f"open_clip cannot load {weights}: its pickle is damaged, or holds more than tensors. Such a file can run "
            "code, so it is not loaded; have it converted to open_clip_model.safetensors"
        ) from error
    except (EOFError, StopIteration) as error:
        raise ModelUnavailable(f"open_clip cannot load {weights}: the file of weights is empty") from error
    except (
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        OSError,
        SafetensorError,
    ) as error:
        lines = str(error).split("\n")[:2]  # torch names the first tensor that does not fit in the second line
        raise ModelUnavailable(f"open_clip cannot load {weights}: {' '.join(map(str.strip, lines))[:500]}") from error


@contextmanager
def _out_of_memory(count: int) -> Iterator[None]:
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EncoderFailed(f"the GPU has no memory for a batch of {count}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's log lines and warnings about its own defaults from the user; errors still raise."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
