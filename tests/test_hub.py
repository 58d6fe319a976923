"""The real `hf-hub:` way against a small hub on loopback: download, cache, offline reuse, each refusal's sentence."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest
from conftest import ROOT, plain_frames, write_video

from echosearch.encoders import load_encoder
from echosearch.types import FrameSampling, ModelRequest

COMMIT = "c0ffee" * 6 + "abcd"
CONFIG, SAFETENSORS, PICKLE = "open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
ECHO_CLIP = "mkaichristensen/echo-clip"

Fault = Literal["HTTP 403", "HTTP 500", "no hub", "shorter", "breaks off"]


# --- the hub


@dataclass
class Repository:
    """A folder that is served. `faults` makes single files misbehave."""

    folder: Path
    gated: bool = False
    private: bool = False
    faults: dict[str, Fault] = field(default_factory=dict)


class Hub(ThreadingHTTPServer):
    """HEAD and GET of /ORG/NAME/resolve/main/FILE, with the headers that the hub's client reads."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.tokens = {"good"}
        self.requests: list[str] = []
        self.authorizations: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def seen(self, method: str) -> list[str]:
        """The files asked for with this method, since the last look."""
        asked = [line for line in self.requests if line.startswith(f"{method} ") and "/resolve/main/" in line]
        return [line.split("/resolve/main/")[1] for line in asked]


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub, token = self.server, self.headers.get("Authorization")
        hub.requests.append(f"{self.command} {self.path}")
        path = re.fullmatch(r"/([^/]+/[^/]+)/resolve/main/(.+)", self.path)
        if path is None:  # the client may ask more; nothing of that is needed
            return self._refuse(404)
        hub.authorizations.add(token)
        known = token is not None and token.removeprefix("Bearer ") in hub.tokens
        repository = hub.repositories.get(path[1])
        if token is not None and not known:
            return self._refuse(401, message="Invalid credentials in Authorization header")
        if repository is None or (repository.private and not known):
            return self._refuse(404 if known else 401, "RepoNotFound")
        if repository.gated:
            return self._refuse(403 if known else 401, "GatedRepo")
        file, fault = repository.folder / path[2], repository.faults.get(path[2])
        if fault and fault.startswith("HTTP"):
            return self._refuse(int(fault[-3:]), message="the reason that the hub gives")
        if not file.is_file():
            return self._refuse(404, "EntryNotFound")
        return self._send(file, fault, body)

    def _refuse(self, status: int, code: str | None = None, message: str | None = None) -> None:
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        if code:
            self.send_header("X-Error-Code", code)
        if message:
            self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, file: Path, fault: Fault | None, body: bool) -> None:
        size = file.stat().st_size
        self.send_response(200)
        if fault != "no hub":
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(str((file, size, file.stat().st_mtime_ns)).encode()).hexdigest()}"')
        self.send_header("Content-Length", str(size // 2 if body and fault == "shorter" else size))
        self.end_headers()
        if not body:
            return
        with file.open("rb") as stream:
            if fault in ("shorter", "breaks off"):
                self.wfile.write(stream.read(size // 2))
                self.close_connection = True
            else:
                shutil.copyfileobj(stream, self.wfile, 1 << 20)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def tiny_hub(hub: Hub, tiny_model: Path) -> Hub:
    """A hub with the tiny model as org/tiny."""
    hub.repositories["org/tiny"] = Repository(tiny_model)
    return hub


# --- asking it, each time in a fresh process: the hub's client reads its environment when it is imported

DRIVER = """
import json, os, sys
from dataclasses import replace
from echosearch.encoders import describe_presets, list_presets, load_encoder
from echosearch.encoders.hub import hub_folder
from echosearch.errors import EchoSearchError
from echosearch.types import ModelRequest

how, name = sys.argv[1:]
if "TINY_ECHO_CLIP" in os.environ:  # the tiny model stands for it
    list_presets()["echo-clip"] = replace(list_presets()["echo-clip"], architecture={"embed_dim": 16})
try:
    if how == "load":
        encoder = load_encoder(ModelRequest(name))
        card = encoder.card
        told = {
            "name": card.name, "weights": card.weights, "dim": card.dim, "space": card.recipe.space.id,
            "recognised": card.recognised,
            "recipe": card.recipe.to_dict(), "vector": encoder.encode_text(["MILD MR"])[0].vector.tolist(),
        }
    elif how == "fetch":
        folder = hub_folder(name)
        told = {"files": sorted(file.name for file in folder.path.iterdir()), "config": folder.config}
    elif how == "status":
        told = {preset.name: preset.status for preset in describe_presets()}
except EchoSearchError as error:
    told = {"error": type(error).__name__, "message": str(error)}
print(json.dumps(told | {"torch": "torch" in sys.modules}))
"""

Ask = Callable[..., dict[str, Any]]


def environment(endpoint: str, home: Path, **more: str) -> dict[str, str]:
    """Only the loopback hub can be reached: whatever goes elsewhere meets a proxy that is not there."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not re.match(r"HF_|HUGGING|TRANSFORMERS_|XDG_CACHE|.*_proxy$", name, re.IGNORECASE)
    }
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    return own | nowhere | {"no_proxy": "127.0.0.1", "HF_ENDPOINT": endpoint, "HF_HOME": str(home)} | more


def ask_hub(hub: Hub | str, home: Path, how: str, name: str, **more: str) -> dict[str, Any]:
    """`load`, `fetch` (no torch) or `status`, as JSON: what came of it, or the error's class and sentence."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, how, name],
        env=environment(hub if isinstance(hub, str) else hub.url, home, **more),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def refused(told: dict[str, Any], error: str, sentence: str) -> None:
    """The error has this class and, in full, this sentence (a pattern); torch was not even loaded for it."""
    assert told.get("error") == error, told
    assert re.fullmatch(sentence, told["message"]), told["message"]
    assert not told["torch"]


def closed_port() -> str:
    """An address on loopback where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


# --- getting a model


@pytest.mark.slow
def test_a_model_is_downloaded_once_and_then_needs_no_hub(tiny_hub: Hub, tiny_model: Path, tmp_path: Path) -> None:
    first = ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tiny")
    here = load_encoder(ModelRequest(f"local-dir:{tiny_model}"))
    assert first["space"] == here.card.recipe.space.id
    assert first["recipe"] == json.loads(json.dumps(here.card.recipe.to_dict()))
    assert first["vector"] == pytest.approx(here.encode_text(["MILD MR"])[0].vector.tolist(), abs=1e-6)
    assert (first["name"], first["weights"], first["dim"]) == ("hf-hub:org/tiny", "hf-hub:org/tiny", 16)
    assert tiny_hub.seen("GET") == [CONFIG, SAFETENSORS]  # each once, and nothing else

    tiny_hub.requests.clear()
    assert ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tiny") == first
    assert tiny_hub.requests == []
    assert ask_hub(closed_port(), tmp_path, "load", "hf-hub:org/tiny", HF_HUB_OFFLINE="1") == first


def test_what_is_cached_is_used_when_the_hub_is_gone_or_forbidden(tiny_hub: Hub, tmp_path: Path) -> None:
    fetched = ask_hub(tiny_hub, tmp_path, "fetch", "org/tiny")
    assert fetched["files"] == [CONFIG, SAFETENSORS]
    tiny_hub.requests.clear()
    tiny_hub.repositories.clear()
    assert ask_hub(tiny_hub, tmp_path, "fetch", "org/tiny") == fetched
    assert tiny_hub.requests == []
    assert ask_hub(closed_port(), tmp_path, "fetch", "org/tiny") == fetched
    assert ask_hub(tiny_hub, tmp_path, "fetch", "org/tiny", HF_HUB_OFFLINE="1") == fetched
    assert tiny_hub.requests == []


@pytest.mark.slow
def test_a_repository_with_pickled_weights_only(hub: Hub, tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "pickled"
    folder.mkdir()
    shutil.copy(tiny_model / CONFIG, folder)
    torch.save(load_file(tiny_model / SAFETENSORS), folder / PICKLE)
    hub.repositories["org/pickled"] = Repository(folder)
    told = ask_hub(hub, tmp_path / "home", "load", "hf-hub:org/pickled")
    assert told["space"] == load_encoder(ModelRequest(f"local-dir:{tiny_model}")).card.recipe.space.id
    assert hub.seen("GET") == [CONFIG, PICKLE]
    hub.requests.clear()  # that there are no safetensors is known from now on
    told = ask_hub(hub, tmp_path / "home", "fetch", "org/pickled")
    assert told["files"] == [CONFIG, PICKLE]
    assert hub.requests == []
    assert ask_hub(hub, tmp_path / "home", "fetch", "org/pickled", HF_HUB_OFFLINE="1") == told


def test_safetensors_are_preferred_and_nothing_else_is_downloaded(hub: Hub, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    shutil.copytree(tiny_model, folder)
    for name in (PICKLE, "README.md", "echosearch.json", "optimizer.pt"):
        (folder / name).write_text("not wanted")
    hub.repositories["org/all"] = Repository(folder)
    assert ask_hub(hub, tmp_path / "home", "fetch", "org/all")["files"] == [CONFIG, SAFETENSORS]
    assert hub.seen("GET") == [CONFIG, SAFETENSORS]


def test_tokenizer_files_come_with_a_model_that_needs_them(hub: Hub, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "worded"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / CONFIG).read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "org/worded"
    (folder / CONFIG).write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "vocab.txt").write_text("mild")
    hub.repositories["org/worded"] = Repository(folder)
    told = ask_hub(hub, tmp_path / "home", "fetch", "org/worded")
    assert told["files"] == [CONFIG, SAFETENSORS, "tokenizer.json", "vocab.txt"]


def test_a_token_is_sent_and_opens_a_private_repository(tiny_hub: Hub, tmp_path: Path) -> None:
    tiny_hub.repositories["org/tiny"].private = True
    told = ask_hub(tiny_hub, tmp_path, "fetch", "org/tiny", HF_TOKEN="good")
    assert told["files"] == [CONFIG, SAFETENSORS]
    assert tiny_hub.authorizations == {"Bearer good"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["echo-clip", f"hf-hub:{ECHO_CLIP}", "hf-hub:MKAIchristensen/Echo-CLIP"])
def test_echo_clip_by_name_or_by_address_is_prepared_the_published_way(
    hub: Hub, tiny_model: Path, tmp_path: Path, name: str
) -> None:
    address = name if ":" in name else f"hf-hub:{ECHO_CLIP}"
    hub.repositories[address.removeprefix("hf-hub:")] = Repository(tiny_model)
    status = ask_hub(hub, tmp_path, "status", "")
    assert (status["echo-clip"], status["toy"]) == ("to be downloaded when first used", "needs no weights")
    assert hub.requests == []
    told = ask_hub(hub, tmp_path, "load", name, TINY_ECHO_CLIP="yes")
    assert (told["name"], told["weights"]) == ("echo-clip", address)
    assert told["recognised"] == f"echo-clip by its {'address' if ':' in name else 'name'}"
    assert told["space"] == load_encoder(ModelRequest(f"local-dir:{tiny_model}")).card.recipe.space.id
    spec = told["recipe"]["preprocess"]
    assert (spec["fit"], spec["resizer"], spec["interpolation"]) == ("crop-resize", "opencv", "bicubic")
    assert (spec["zoom"], spec["channel_order"], spec["size"]) == (0.1, "bgr", 32)
    assert told["recipe"]["sampling"] == {"start": 0, "stop": 40, "stride": 2, "count": None}
    status = ask_hub(hub, tmp_path, "status", "", HF_HUB_OFFLINE="1")
    if address == f"hf-hub:{ECHO_CLIP}":
        assert status["echo-clip"] == "in the local cache"
    assert status["whyxrayclip"] == "to be downloaded when first used"


@pytest.mark.slow
def test_a_toy_under_echo_clip_s_address_is_refused_with_what_differs(
    hub: Hub, tiny_model: Path, tmp_path: Path
) -> None:
    hub.repositories[ECHO_CLIP] = Repository(tiny_model)
    for name in ("echo-clip", f"hf-hub:{ECHO_CLIP}"):
        told = ask_hub(hub, tmp_path, "load", name)
        assert told["error"] == "ModelUnavailable"
        assert re.match(
            rf"hf-hub:{ECHO_CLIP} is echo-clip by its (name|address), but embed_dim 16, not 512; "
            r"vision_cfg.timm_model_name None, not convnext_base; vision_cfg.image_size 32, not 224\. ",
            told["message"],
        )


@pytest.mark.parametrize("name", [f"hf-hub:{ECHO_CLIP}-r", f"hf-hub:{ECHO_CLIP.upper()}-R", "echo-clip-r"])
def test_echo_clip_r_is_refused_before_anything_is_downloaded(hub: Hub, tmp_path: Path, name: str) -> None:
    refused(
        ask_hub(hub, tmp_path, "load", name),
        "UnknownEncoder",
        rf"({re.escape(name)}: )?echo-clip-r is not supported yet: its template tokenizer is still to come",
    )
    assert hub.requests == []


# --- refusals


@pytest.mark.parametrize("token", [{}, {"HF_TOKEN": "good"}])
def test_a_missing_repository(tiny_hub: Hub, tmp_path: Path, token: dict[str, str]) -> None:
    refused(
        ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tyni", **token),
        "ModelUnavailable",
        rf"hf-hub:org/tyni: the hub at {tiny_hub.url} has no such repository, or it is private and "
        r"the token \(HF_TOKEN\) may not see it",
    )


def test_a_private_repository_without_a_token(tiny_hub: Hub, tmp_path: Path) -> None:
    tiny_hub.repositories["org/tiny"].private = True
    refused(
        ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tiny"),
        "ModelUnavailable",
        r"hf-hub:org/tiny: the hub at .* has no such repository, or it is private and the token .* may not see it",
    )


@pytest.mark.parametrize("token", [{}, {"HF_TOKEN": "good"}])
def test_a_gated_repository(tiny_hub: Hub, tmp_path: Path, token: dict[str, str]) -> None:
    tiny_hub.repositories["org/tiny"].gated = True
    refused(
        ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tiny", **token),
        "ModelUnavailable",
        r"hf-hub:org/tiny is gated: accept its terms on the hub, then log in with a token \(HF_TOKEN\)",
    )


def test_a_refused_token(tiny_hub: Hub, tmp_path: Path) -> None:
    refused(
        ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tiny", HF_TOKEN="stale"),
        "ModelUnavailable",
        r"hf-hub:org/tiny: the hub refused the token \(HTTP 401\); check HF_TOKEN or log in again",
    )


def test_a_token_without_the_permission(tiny_hub: Hub, tmp_path: Path) -> None:
    tiny_hub.repositories["org/tiny"].faults[CONFIG] = "HTTP 403"
    refused(
        ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tiny", HF_TOKEN="good"),
        "ModelUnavailable",
        r"hf-hub:org/tiny: the hub refused the token \(HTTP 403\); check HF_TOKEN or log in again",
    )


def test_a_hub_in_trouble_is_told_at_once(tiny_hub: Hub, tmp_path: Path) -> None:
    tiny_hub.repositories["org/tiny"].faults[CONFIG] = "HTTP 500"
    started = time.monotonic()
    refused(
        ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tiny"),
        "ModelUnavailable",
        rf"hf-hub:org/tiny: the hub answered with HTTP 500 for {CONFIG}",
    )
    assert time.monotonic() - started < 15


def test_a_repository_without_a_config(hub: Hub, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    shutil.copy(tiny_model / SAFETENSORS, folder)
    hub.repositories["org/bare"] = Repository(folder)
    sentence = rf"hf-hub:org/bare has no {CONFIG}, so it is not an open_clip model"
    refused(ask_hub(hub, tmp_path / "home", "load", "hf-hub:org/bare"), "ModelUnavailable", sentence)
    assert hub.seen("GET") == []
    refused(ask_hub(hub, tmp_path / "home", "load", "hf-hub:org/bare"), "ModelUnavailable", sentence)


def test_a_repository_without_weights_is_never_a_random_model(hub: Hub, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weightless"
    folder.mkdir()
    shutil.copy(tiny_model / CONFIG, folder)
    hub.repositories["org/weightless"] = Repository(folder)
    sentence = rf"hf-hub:org/weightless has no weights: neither {SAFETENSORS} nor {PICKLE}"
    refused(ask_hub(hub, tmp_path / "home", "load", "hf-hub:org/weightless"), "ModelUnavailable", sentence)
    refused(
        ask_hub(hub, tmp_path / "home", "load", "hf-hub:org/weightless", HF_HUB_OFFLINE="1"),
        "ModelUnavailable",
        sentence,
    )


def test_a_hub_that_is_not_there_is_told_within_seconds_with_the_way_out(tmp_path: Path) -> None:
    endpoint, started = closed_port(), time.monotonic()
    refused(
        ask_hub(endpoint, tmp_path, "load", "hf-hub:org/tiny"),
        "ModelUnavailable",
        rf"hf-hub:org/tiny: {CONFIG} is not in the local cache and cannot be downloaded from the hub at {endpoint} "
        r"\(.*Connection refused.*\); download it elsewhere and give the folder as local-dir:PATH",
    )
    assert time.monotonic() - started < 15


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_given_up_after_the_client_s_own_time_limit(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint, started = f"http://127.0.0.1:{silent.getsockname()[1]}", time.monotonic()
        refused(
            ask_hub(endpoint, tmp_path, "load", "hf-hub:org/tiny", HF_HUB_ETAG_TIMEOUT="1"),
            "ModelUnavailable",
            rf"hf-hub:org/tiny: {CONFIG} is not in the local cache and cannot be downloaded from the hub at {endpoint} "
            r"\(.*timed out.*\); download it elsewhere and give the folder as local-dir:PATH",
        )
        assert time.monotonic() - started < 15


def test_offline_with_nothing_cached(tiny_hub: Hub, tmp_path: Path) -> None:
    refused(
        ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tiny", HF_HUB_OFFLINE="1"),
        "ModelUnavailable",
        rf"hf-hub:org/tiny: {CONFIG} is not in the local cache and cannot be downloaded from the hub at {tiny_hub.url} "
        r"\(.*HF_HUB_OFFLINE.*\); download it elsewhere and give the folder as local-dir:PATH",
    )
    assert tiny_hub.requests == []


def test_a_page_that_is_no_hub(tiny_hub: Hub, tmp_path: Path) -> None:
    """A log-in page of a network answers everything with 200, without the hub's headers."""
    tiny_hub.repositories["org/tiny"].faults[CONFIG] = "no hub"
    told = ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tiny")
    refused(
        told,
        "ModelUnavailable",
        rf"hf-hub:org/tiny: {CONFIG} is not in the local cache and cannot be downloaded from the hub at {tiny_hub.url} "
        r"\(.*X-Repo-Commit.*\); download it elsewhere and give the folder as local-dir:PATH",
    )


def test_a_download_that_comes_back_shorter(tiny_hub: Hub, tmp_path: Path) -> None:
    tiny_hub.repositories["org/tiny"].faults[SAFETENSORS] = "shorter"
    refused(
        ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tiny"),
        "ModelUnavailable",
        rf"hf-hub:org/tiny: {SAFETENSORS} is not in the local cache and cannot be downloaded from the hub at "
        rf"{tiny_hub.url} "
        r"\(Consistency check failed: file should be of size \d+ but has size \d+ .*\); download it elsewhere .*",
    )
    tiny_hub.repositories["org/tiny"].faults.clear()  # half a file is not taken for a whole one
    assert ask_hub(tiny_hub, tmp_path, "fetch", "org/tiny")["files"] == [CONFIG, SAFETENSORS]


@pytest.mark.slow
def test_a_connection_that_breaks_off_again_and_again(tiny_hub: Hub, tmp_path: Path) -> None:
    tiny_hub.repositories["org/tiny"].faults[SAFETENSORS] = "breaks off"
    refused(
        ask_hub(tiny_hub, tmp_path, "load", "hf-hub:org/tiny"),
        "ModelUnavailable",
        rf"hf-hub:org/tiny: {SAFETENSORS} is not in the local cache and cannot be downloaded from the hub at "
        rf"{tiny_hub.url} "
        r"\(peer closed connection .*\); download it elsewhere .*",
    )


@pytest.mark.parametrize(
    "name", ["tiny", "org/tiny/more", "org/", "org/ti ny", "org/-tiny", "org/tiny.git", f"{ECHO_CLIP}@main"]
)
def test_what_is_no_name_of_a_repository(tmp_path: Path, name: str) -> None:
    told = ask_hub(closed_port(), tmp_path, "load", f"hf-hub:{name}")
    if name.count("/") == 1:
        refused(told, "UnknownEncoder", rf"hf-hub:{re.escape(name)} is not a valid repository name: (?s:.+)")
    else:
        refused(told, "UnknownEncoder", rf"a hub model is hf-hub:ORG/NAME, not hf-hub:{re.escape(name)}")


# --- through the command line, and the real size


@pytest.mark.slow
def test_the_command_line_says_the_sentence_and_exits_with_2(tiny_hub: Hub, tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "red.avi", plain_frames(4, (220, 20, 20)))
    index = tmp_path / "index"

    def ingest(model: str) -> subprocess.CompletedProcess[str]:
        arguments = ["ingest", str(tmp_path / "videos"), "--index", str(index), "--model", model, "--json"]
        return subprocess.run(
            [sys.executable, "-m", "echosearch", *arguments],
            env=environment(tiny_hub.url, tmp_path / "home"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    failed = ingest("hf-hub:org/none")
    assert failed.returncode == 2
    assert "hf-hub:org/none: the hub at" in failed.stderr
    assert "Traceback" not in failed.stderr
    done = ingest("hf-hub:org/tiny")
    assert done.returncode == 0, done.stderr
    assert json.loads((index / "manifest.json").read_text())["weights"] == "hf-hub:org/tiny"


@pytest.mark.slow
def test_an_index_made_before_by_echo_clip_s_address_is_told_and_takes_more(
    hub: Hub, tiny_model: Path, tmp_path: Path
) -> None:
    """As one was made when an address was no preset: open_clip's preparation, under EchoCLIP's address."""
    hub.repositories["org/tiny"] = hub.repositories[ECHO_CLIP] = Repository(tiny_model)
    write_video(tmp_path / "videos" / "red.avi", plain_frames(4, (220, 20, 20)))

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "echosearch", *arguments, "--index", str(tmp_path / "index")],
            env=environment(hub.url, tmp_path / "home"), cwd=ROOT, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip

    assert call("ingest", str(tmp_path / "videos"), "--model", "hf-hub:org/tiny").returncode == 0
    file = tmp_path / "index" / "manifest.json"
    before = json.loads(file.read_text()) | {"model": f"hf-hub:{ECHO_CLIP}", "weights": f"hf-hub:{ECHO_CLIP}"}
    file.write_text(json.dumps(before))
    for number, more in enumerate(((), ("--model", f"hf-hub:{ECHO_CLIP}"))):
        write_video(tmp_path / "videos" / f"{number}.avi", plain_frames(4, (20, 20, 90 * number + 60)))
        done = call("ingest", str(tmp_path / "videos"), *more)
        assert done.returncode == 0, done.stderr
        assert re.search(
            r"note: this index's model is echo-clip, and was not prepared as published \(.*fit resize-crop, not "
            r"crop-resize; .*zoom 0.0, not 0.1; channel_order rgb, not bgr\), .*\nmodel hf-hub:mkai.*: resize-crop to",
            done.stdout, re.DOTALL,
        ), done.stdout  # fmt: skip
    assert json.loads(file.read_text()) == before
    asked = call("search", "MILD MR")
    assert (asked.returncode, "was not prepared as published" in asked.stdout + asked.stderr) == (0, True)
    refused_threshold = call("sweep", "pacemaker", "--published-threshold")
    assert refused_threshold.returncode == 2
    assert "was published for echo-clip, and hf-hub:mkaichristensen/echo-clip is not made that way (embed_dim 16" in (
        refused_threshold.stderr
    )


@pytest.mark.slow
def test_the_full_size_twin_through_the_hub(hub: Hub, twin: Path) -> None:
    hub.repositories[ECHO_CLIP] = Repository(twin)
    here = load_encoder(ModelRequest("echo-clip", weights=f"local-dir:{twin}")).card
    assert here.recipe == load_encoder(ModelRequest(f"local-dir:{twin}")).card.recipe  # by its side-car
    with tempfile.TemporaryDirectory() as home:  # 600 MB, which pytest would keep
        told = ask_hub(hub, Path(home), "load", "echo-clip")
    assert told["dim"] == here.dim == 512
    assert told["space"] == here.recipe.space.id
    assert told["recipe"] == json.loads(json.dumps(here.recipe.to_dict()))
    assert hub.seen("GET") == [CONFIG, SAFETENSORS]
    assert here.recipe.sampling == FrameSampling(0, 40, 2)
