"""Which preset weights are: a table of cases, then the same through loading, ingesting and asking."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import know_presets_by, plain_frames, write_video
from store_helpers import random_units, toy_card, toy_probe

import echosearch
from echosearch.encoders import Standing, list_presets, load_encoder
from echosearch.encoders.presets import Evidence, recognise
from echosearch.errors import BadOption, EchoSearchError, ModelUnavailable, UnknownEncoder
from echosearch.index import IndexDescription
from echosearch.ingest import ImportOptions, IngestOptions, import_embeddings, ingest
from echosearch.types import FrameSampling, ModelRequest, PreprocessSpec, Recipe, Space

Run = Callable[..., tuple[int, str, str]]

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
# EchoCLIP's: the reference names the architecture, 512 dimensions, 224 pixels, 77 tokens of 49408.
ECHO: dict[str, Any] = {
    "embed_dim": 512,
    "vision_cfg": {"timm_model_name": "convnext_base", "image_size": 224},
    "text_cfg": TEXT,
}
SPARE = {"embed_dim": 512, "vision_cfg": {"timm_model_name": "timm/convnext_base.fb_in22k"}, "text_cfg": {}}
"""The same in a config that leaves out what open_clip takes anyway."""
VIT_L = {
    "embed_dim": 768,
    "vision_cfg": {"image_size": 224, "layers": 24, "width": 1024, "patch_size": 14},
    "text_cfg": TEXT | {"width": 768, "heads": 12},
}
TOY = {"embed_dim": 64, "vision_cfg": {"image_size": 32, "layers": 1, "width": 32}, "text_cfg": TEXT}
WORDED = ECHO | {"text_cfg": TEXT | {"hf_tokenizer_name": "org/words"}}

HUB, HUB_R, XRAY = (
    "hf-hub:mkaichristensen/echo-clip",
    "hf-hub:mkaichristensen/echo-clip-r",
    "hf-hub:yyupenn/whyxrayclip",
)
HERE = "local-dir:/models/it"
CACHED = "local-dir:/home/ann/.cache/huggingface/hub/models--mkaichristensen--echo-clip{}/snapshots/c0ffee"
MINI = "670215714c2f23df358505f30114fcde3ffa2281d2185716bed467793269bc2b"
VOCABULARY = frozenset({"template_vocab.txt"})


def question(address: str) -> str:
    return re.escape(
        f"is {address} echo-clip or echo-clip-r (not supported yet), or another model? It has their architecture, and "
        f"they need their own preparation. Say which: --model echo-clip --weights {address}, or, prepared "
        f"as open_clip does it, --model open_clip --weights {address}; or in an echosearch.json beside the weights: "
        '{"preset": "echo-clip"}'
    )


@pytest.mark.parametrize(
    ("evidence", "asked", "preset", "why"),
    [
        (Evidence(HUB, ECHO), None, "echo-clip", "its address"),
        (Evidence("hf-hub:MKaiChristensen/Echo-CLIP", ECHO), None, "echo-clip", "its address"),
        (Evidence(CACHED.format(""), ECHO), None, "echo-clip", "its address"),
        (Evidence(HUB, ECHO), "echo-clip", "echo-clip", "its name"),
        (Evidence(HERE, ECHO), "echo-clip", "echo-clip", "its name"),
        (Evidence(HERE, SPARE), "echo-clip", "echo-clip", "its name"),
        (Evidence("open_clip:convnext_base//m/it.pt", ECHO), "echo-clip", "echo-clip", "its name"),
        (Evidence(HERE, ECHO, named="echo-clip"), None, "echo-clip", "its echosearch.json"),
        (Evidence(XRAY, VIT_L), None, "whyxrayclip", "its address"),
        (Evidence(HERE, VIT_L, named="whyxrayclip"), None, "whyxrayclip", "its echosearch.json"),
        (Evidence("local-dir:/tmp/copy", TOY, MINI), None, "echo-mini", "its tensors"),
        (Evidence("package:echo_mini", TOY, MINI), "echo-mini", "echo-mini", "its name"),
        # None of the presets, or said to be none.
        (Evidence(HERE, TOY), None, "open_clip", "being none of the others"),
        (Evidence("hf-hub:org/tiny", TOY, "0" * 64), None, "open_clip", "being none of the others"),
        (Evidence(HERE, WORDED), None, "open_clip", "being none of the others"),
        (Evidence("open_clip:convnext_base/laion400m_s13b_b51k", ECHO), None, "open_clip", "being none of the others"),
        (Evidence(HERE, VIT_L), None, "open_clip", "being none of the others"),  # prepared the same way
        (Evidence(HERE, ECHO), "open_clip", "open_clip", "its name"),
        (Evidence(HUB, ECHO), "open_clip", "open_clip", "its name"),
        (Evidence(HERE, ECHO, named="echo-clip"), "open_clip", "open_clip", "its name"),
        (Evidence(HERE, ECHO, named="open_clip"), None, "open_clip", "its echosearch.json"),
    ],
)
def test_what_weights_are(evidence: Evidence, asked: str | None, preset: str, why: str) -> None:
    found, by = recognise(evidence, asked)
    assert (found.name, by) == (preset, why)


@pytest.mark.parametrize(
    ("evidence", "asked", "sentence"),
    [
        # It may be one or not: asked.
        (Evidence(HERE, ECHO), None, question(HERE)),
        (Evidence(HERE, SPARE), None, question(HERE)),
        (Evidence(HERE, ECHO | {"vision_cfg": ECHO["vision_cfg"] | {"image_size": [224, 224]}}), None, question(HERE)),
        (Evidence("hf-hub:org/mirror", ECHO), None, question("hf-hub:org/mirror")),
        (Evidence("open_clip:convnext_base//m/it.pt", ECHO), None, question("open_clip:convnext_base//m/it.pt")),
        # It cannot be.
        (Evidence(HERE, TOY), "echo-clip",
         r"local-dir:/models/it is echo-clip by its name, but embed_dim 64, not 512; vision_cfg.timm_model_name None, "
         r"not convnext_base; vision_cfg.image_size 32, not 224. It may be another model: prepared as open_clip does "
         r"it, --model open_clip --weights local-dir:/models/it"),
        (Evidence(HUB, TOY), None, r".* is echo-clip by its address, but embed_dim 64, not 512;.*"),
        (Evidence(HERE, WORDED), "echo-clip", r".*, but text_cfg.hf_tokenizer_name org/words, not None\. .*"),
        (Evidence(HERE, ECHO, named="whyxrayclip"), None, r".* by its echosearch.json, but embed_dim 512, not 768; .*"),
        (Evidence(HERE, VIT_L), "echo-clip", r".*timm_model_name None, not convnext_base.*"),
        (Evidence(HERE, ECHO), "whyxrayclip", r".* but embed_dim 512, not 768; .*_name convnext_base, not None\. .*"),
        (Evidence(HERE, TOY, "0" * 64), "echo-mini", r".* is echo-mini by its name, but other tensors\. .*"),
        # It is said to be two.
        (Evidence(HUB, ECHO), "whyxrayclip", r".* is echo-clip by its address, and whyxrayclip by its name: .*"),
        (Evidence(XRAY, VIT_L, named="echo-clip"), None, r".* echo-clip by its echosearch.json, and whyxray.*"),
        (Evidence(HERE, ECHO, named="open_clip"), "echo-clip", r".* open_clip by its echosearch.json, and .*"),
        (Evidence(HERE, TOY, MINI, named="echo-clip"), None, r".* echo-clip by its echosearch.json, and echo-mini .*"),
        # Its tokenizer is not here.
        (Evidence(HUB_R, ECHO), None, r".*-r is echo-clip-r by its address; echo-clip-r is not supported yet: .*"),
        (Evidence(HUB_R, ECHO), "open_clip", r".* is echo-clip-r by its address; .*"),
        (Evidence(CACHED.format("-r"), ECHO), None, r".* is echo-clip-r by its address; .*"),
        (Evidence(HERE, ECHO, named="echo-clip-r"), None, r".* is echo-clip-r by its echosearch.json; .*"),
        (Evidence(HERE, ECHO, files=VOCABULARY), None, r".* is echo-clip-r by the template_vocab.txt beside it; .*"),
        (Evidence(HERE, ECHO, files=VOCABULARY), "echo-clip", r".* is echo-clip-r by the template_vocab.txt .*"),
    ],
)  # fmt: skip
def test_what_weights_are_not(evidence: Evidence, asked: str | None, sentence: str) -> None:
    with pytest.raises((UnknownEncoder, ModelUnavailable)) as refused:
        recognise(evidence, asked)
    assert re.fullmatch(sentence, str(refused.value)), str(refused.value)


def test_where_a_digest_is_known_nothing_is_left_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, digest in (("echo-clip", "1" * 64), ("echo-clip-r", "2" * 64)):
        monkeypatch.setitem(list_presets(), name, replace(list_presets()[name], tensors_sha256=(digest,)))
    assert recognise(Evidence(HERE, ECHO, "1" * 64))[0].name == "echo-clip"
    assert recognise(Evidence(HERE, ECHO, "3" * 64))[0].name == "open_clip"
    with pytest.raises(UnknownEncoder, match="is echo-clip-r by its tensors; echo-clip-r is not supported yet"):
        recognise(Evidence(HERE, ECHO, "2" * 64), "echo-clip")
    with pytest.raises(ModelUnavailable, match="is echo-clip by its address, but other tensors"):
        recognise(Evidence(HUB, ECHO, "3" * 64))


# --- loading


def named(folder: Path, into: Path, **side_car: str) -> Path:
    shutil.copytree(folder, into)
    if side_car:
        (into / "echosearch.json").write_text(json.dumps(side_car))
    return into


@pytest.mark.usefixtures("small_presets")
def test_a_folder_that_may_be_echo_clip_is_asked_about_and_each_answer_is_a_way(
    tiny_model: Path, tmp_path: Path
) -> None:
    where = f"local-dir:{tiny_model}"
    with pytest.raises(UnknownEncoder, match=question(where)):
        load_encoder(ModelRequest(where))
    echo = load_encoder(ModelRequest("echo-clip", where)).card
    plain = load_encoder(ModelRequest("open_clip", where)).card
    assert (echo.name, echo.weights, echo.recognised) == ("echo-clip", where, "echo-clip by its name")
    assert (plain.name, plain.weights, plain.recognised) == ("open_clip", where, "open_clip by its name")
    assert (echo.recipe.preprocess.fit, echo.recipe.preprocess.channel_order) == ("crop-resize", "bgr")
    assert (plain.recipe.preprocess.fit, plain.recipe.preprocess.channel_order) == ("resize-crop", "rgb")
    for preset, card in (("echo-clip", echo), ("open_clip", plain)):
        folder = named(tiny_model, tmp_path / preset, preset=preset)
        found = load_encoder(ModelRequest(f"local-dir:{folder}")).card
        assert found.recipe == card.recipe
        assert found.name == ("echo-clip" if preset == "echo-clip" else f"local-dir:{folder}")


@pytest.mark.usefixtures("small_presets")
def test_a_checkpoint_file_is_asked_about_too(tiny_model: Path) -> None:
    where = f"open_clip:tiny-{tiny_model.name}/{tiny_model}/open_clip_model.safetensors"
    with pytest.raises(UnknownEncoder, match=question(where)):
        load_encoder(ModelRequest(where))
    echo = load_encoder(ModelRequest("echo-clip", where)).card
    assert (echo.name, echo.weights) == ("echo-clip", where)
    assert echo.recipe == load_encoder(ModelRequest("echo-clip", f"local-dir:{tiny_model}")).card.recipe


def test_a_toy_is_not_loaded_as_echo_clip(tiny_model: Path) -> None:
    with pytest.raises(
        ModelUnavailable, match=r"is echo-clip by its name, but embed_dim 16, not 512; .*It may be another"
    ):
        load_encoder(ModelRequest("echo-clip", f"local-dir:{tiny_model}"))


def test_a_folder_with_the_template_vocabulary_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    folder = named(tiny_model, tmp_path / "renamed")
    (folder / "template_vocab.txt").write_text("MILD MR. \n")
    for request in (ModelRequest(f"local-dir:{folder}"), ModelRequest("echo-clip", f"local-dir:{folder}")):
        with pytest.raises(
            UnknownEncoder, match=r"is echo-clip-r by the template_vocab.txt beside it; echo-clip-r is not"
        ):
            load_encoder(request)
    folder = named(tiny_model, tmp_path / "said", preset="echo-clip-r")
    with pytest.raises(UnknownEncoder, match="echo-clip-r is not supported yet"):
        load_encoder(ModelRequest(f"local-dir:{folder}"))


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_bare_copy_of_echo_mini_is_known_by_its_tensors(tmp_path: Path, kind: str) -> None:
    from echosearch.encoders import load

    source = Path(load.__file__).parent / "echo_mini"
    shutil.copytree(source, tmp_path / "mini", ignore=lambda *_: {"echosearch.json"})
    if kind == "bin":
        import torch
        from safetensors.torch import load_file

        file = tmp_path / "mini" / "open_clip_model.safetensors"
        torch.save(load_file(file), tmp_path / "mini" / "open_clip_pytorch_model.bin")
        file.unlink()
    card = load_encoder(ModelRequest(f"local-dir:{tmp_path / 'mini'}")).card
    assert (card.name, card.recognised) == ("echo-mini", "echo-mini by its tensors")
    assert card.notice == list_presets()["echo-mini"].notice
    assert card.recipe.space.tensors_sha256 == MINI


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("model_cfg", "text_cfg", None),
        ("text_cfg", "width", 17),
        ("text_cfg", "tokenizer_kwargs", {"clean": "zzz"}),
        ("vision_cfg", "image_size", 0),
        ("vision_cfg", "image_size", []),
        ("preprocess_cfg", "mean", [0.5]),
        ("preprocess_cfg", "mean", "grey"),
        ("preprocess_cfg", "std", [0, 0, 0]),
        ("preprocess_cfg", "fill_color", [1, 2, 3]),
    ],
)
def test_a_config_that_cannot_be_is_a_sentence(
    tiny_model: Path, tmp_path: Path, part: str, key: str, value: object
) -> None:
    folder = named(tiny_model, tmp_path / "model")
    config = json.loads((folder / "open_clip_config.json").read_text())
    parts = config | config["model_cfg"] | {"preprocess_cfg": config.setdefault("preprocess_cfg", {})}
    parts[part][key] = value
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="open_clip cannot load local-dir:"):
        load_encoder(ModelRequest(f"local-dir:{folder}"))


def test_a_checkpoint_of_another_architecture_is_a_sentence() -> None:
    from echosearch.encoders import load

    file = Path(load.__file__).parent / "echo_mini" / "open_clip_model.safetensors"
    with pytest.raises(ModelUnavailable, match="open_clip cannot load open_clip:ViT-B-32/"):
        load_encoder(ModelRequest(f"open_clip:ViT-B-32/{file}"))


def test_weights_are_not_called_toy(tiny_model: Path, tmp_path: Path) -> None:
    folder = named(tiny_model, tmp_path / "model", preset="toy")
    with pytest.raises(UnknownEncoder, match=r"has weights, and toy, which its echosearch\.json names, has none"):
        load_encoder(ModelRequest(f"local-dir:{folder}"))


def test_a_folder_s_own_notice_does_not_hide_the_preset_s(tmp_path: Path) -> None:
    from echosearch.encoders import load

    mini = named(Path(load.__file__).parent / "echo_mini", tmp_path / "mini", notice="Copied in May.")
    assert load_encoder(ModelRequest(f"local-dir:{mini}")).card.notice == (
        f"Copied in May. {list_presets()['echo-mini'].notice}"
    )


def test_open_clip_alone_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="--model open_clip goes with --weights: local-dir:PATH, hf-hub:ORG/NAME or "):
        load_encoder(ModelRequest("open_clip"))


# --- an index


def indexed(path: Path, model: ModelRequest, *colours: str) -> Path:
    for number, name in enumerate(colours):
        write_video(path.parent / "videos" / f"{name}.avi", plain_frames(3, (60 * number, 99, 20)))
    ingest(path, [path.parent / "videos"], IngestOptions(model, workers=1))
    return path


@pytest.mark.slow
def test_an_ingest_says_what_was_applied_and_why(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "red.avi", plain_frames(3, (220, 20, 20)))
    options = ("--index", tmp_path / "index", "--workers", 1, "--model")
    with pytest.MonkeyPatch.context() as patch:
        know_presets_by(patch, embed_dim=16)
        code, _, error = run("ingest", tmp_path / "videos", *options, f"local-dir:{tiny_model}")
        assert (code, "is local-dir:" in error, (tmp_path / "index").exists()) == (2, True, False)
        weights = ("--weights", f"local-dir:{tiny_model}")
        code, text, _ = run("ingest", tmp_path / "videos", *options, "echo-clip", *weights)
        assert code == 0
        applied = (
            "echo-clip (echo-clip by its name): crop-resize to 32, zoom 0.1, opencv bicubic, bgr; "
            r"frames 0:40:2; phrases by SimpleTokenizer [0-9a-f]{16} context 77, clean_lower"
        )
        assert re.search(f"^model {re.escape(applied).replace(re.escape('[0-9a-f]{16}'), '[0-9a-f]{16}')}$", text, re.M)
        told = json.loads(run("ingest", tmp_path / "videos", "--index", tmp_path / "index", "--json")[1])
        assert told["model"].startswith("echo-clip: crop-resize to 32, zoom 0.1, ")


@pytest.mark.slow
def test_an_index_made_before_is_told_and_goes_on_in_its_own_way(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    address = f"local-dir:{tiny_model}"
    made = indexed(tmp_path / "index", ModelRequest(address), "a", "b")
    before = json.loads((made / "manifest.json").read_text())
    with pytest.MonkeyPatch.context() as patch:
        know_presets_by(patch, embed_dim=16)  # by now it is known that these weights may be echo-clip's
        note = (
            "this index's model may be echo-clip, and was not prepared as published (fit resize-crop, not crop-resize; "
            "resizer pillow, not opencv; zoom 0.0, not 0.1; channel_order rgb, not bgr), so its scores differ; that "
            "stays. For published scores make another index: echosearch ingest VIDEOS --index NEW --model echo-clip"
        )
        for number, model in enumerate((None, ModelRequest(address))):
            new = write_video(tmp_path / "videos" / f"new{number}.avi", plain_frames(3, (20, 20, 60 * number + 90)))
            report = ingest(made, [new], IngestOptions(model, workers=1))
            assert (report.added, report.warnings[0]) == (1, note)
        index = echosearch.open_index(made)
        assert index.info().notes == (note,)
        assert index.search("LV DILATION").warnings[0] == note
        assert note in run("info", "--index", made)[1]
        assert note in index.zeroshot.sweep("pacemaker")[0].warnings
        moved = echosearch.open_index(made, model=f"local-dir:{named(tiny_model, tmp_path / 'moved')}")
        assert len(moved.similar(write_video(tmp_path / "unknown.avi", plain_frames(3, (7, 70, 170)))).hits) == 4
        with pytest.raises(
            EchoSearchError, match=r"videos would be prepared differently .*preprocess.channel_order bgr"
        ):
            ingest(made, [tmp_path / "unknown.avi"], IngestOptions(ModelRequest("echo-clip", address), workers=1))
        with pytest.raises(BadOption, match=r"was published for echo-clip, and local-dir:.* is not that; learn one"):
            index.zeroshot.sweep("pacemaker", published_threshold=True)
    after = json.loads((made / "manifest.json").read_text())
    assert after == before


@pytest.mark.usefixtures("small_presets")
def test_an_import_is_bound_to_the_preset_that_its_recipe_s_weights_are(tiny_model: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "red.avi", plain_frames(2, (220, 20, 20)))
    np.savez(tmp_path / "mine.npz", paths=[str(video)], v=random_units(1, 16, 1), norms=np.float32([0.9]))
    where = f"local-dir:{tiny_model}"
    with pytest.raises(UnknownEncoder, match=question(where)):
        import_embeddings(tmp_path / "index", tmp_path / "mine.npz", ImportOptions(recipe=where))
    where = f"local-dir:{named(tiny_model, tmp_path / 'said', preset='echo-clip')}"
    import_embeddings(tmp_path / "index", tmp_path / "mine.npz", ImportOptions(recipe=where))
    manifest = echosearch.open_index(tmp_path / "index").description
    assert (manifest.model, manifest.weights, manifest.standing.published) == ("echo-clip", where, "echo-clip")


# --- what was made before, and published figures


SPEC = PreprocessSpec(224, "resize-crop", "pillow", "bicubic", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
PUBLISHED = replace(SPEC, **list_presets()["echo-clip"].preprocess)
FRAMES = FrameSampling(0, 40, 2)


def recipe(config: dict[str, Any] = ECHO, spec: PreprocessSpec = PUBLISHED, frames: FrameSampling = FRAMES) -> Recipe:
    return Recipe(Space("0" * 64, json.dumps(config), "words", "none"), spec, frames)


@pytest.mark.parametrize(
    ("model", "weights", "made", "preset", "published", "note"),
    [
        ("echo-clip", HUB, recipe(), "echo-clip", "echo-clip", None),
        ("echo-clip", HERE, recipe(), "echo-clip", "echo-clip", None),
        (HERE, HERE, recipe(), "echo-clip", "echo-clip", None),  # a side-car had said so
        ("echo-clip", HUB, recipe(frames=FrameSampling()), "echo-clip", None, None),
        (HUB, HUB, recipe(spec=SPEC), "echo-clip", None, "model is echo-clip, and was not prepared as published (fit "),
        (HERE, HERE, recipe(spec=SPEC), None, None, "model may be echo-clip, and was not prepared as published (fit "),
        (
            "echo-clip",
            HERE,
            recipe(TOY),
            "echo-clip",
            None,
            "is echo-clip, and was not prepared as published (embed_dim",
        ),
        (HUB_R, HUB_R, recipe(spec=SPEC), "echo-clip-r", None, "tokenizer is still to come: its scores for phrases"),
        ("open_clip", HUB, recipe(spec=SPEC), "open_clip", "open_clip", None),
        ("open_clip:convnext_base/laion400m_s13b_b51k",) * 2 + (recipe(spec=SPEC), None, None, None),
        (HERE, HERE, recipe(VIT_L, SPEC), None, None, None),
        (HERE, HERE, recipe(TOY, SPEC), None, None, None),
        ("toy", "none", toy_card().recipe, "toy", "toy", None),
    ],
)
def test_how_an_index_stands_to_the_presets(
    model: str, weights: str, made: Recipe, preset: str | None, published: str | None, note: str | None
) -> None:
    found = Standing.of(model, weights, made)
    assert (found.preset and found.preset.name, found.published) == (preset, published)
    assert (found.note is None) if note is None else (found.note is not None and note in found.note), found.note


def test_the_manifest_tells_the_caveat_first() -> None:
    card = replace(toy_card(), name=HUB, weights=HUB, recipe=recipe(spec=SPEC), notice="Random.")
    notes = IndexDescription.of(card, toy_probe(), "float32").notes
    assert (notes[0], len(notes)) == ("Random.", 2)
