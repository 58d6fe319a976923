"""Models of a Hugging Face hub: its cache, and what is fetched from it. Knows no torch."""

from __future__ import annotations

from pathlib import Path

from echosearch.encoders.load import CONFIG_NAME, WEIGHT_NAMES, ModelFolder, local_folder, read_json
from echosearch.errors import ModelUnavailable, UnknownEncoder


def hub_folder(repository: str) -> ModelFolder:
    """A model of a Hugging Face hub, downloaded unless its cache has it. ModelUnavailable says why not.

    Honours HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE. Only the config, one file of weights
    (safetensors where there is one) and tokenizer files are fetched; what the cache has is used as it is.
    """
    if repository.count("/") != 1:
        raise UnknownEncoder(f"a hub model is hf-hub:ORG/NAME, not hf-hub:{repository}")
    config_path = _download(repository, CONFIG_NAME)
    if config_path is None:
        raise ModelUnavailable(f"hf-hub:{repository} has no {CONFIG_NAME}, so it is not an open_clip model")
    for name in WEIGHT_NAMES:
        if _download(repository, name) is not None:
            break
    else:
        raise ModelUnavailable(f"hf-hub:{repository} has no weights: neither {' nor '.join(WEIGHT_NAMES)}")
    text_config = read_json(config_path).get("model_cfg", {}).get("text_cfg", {})
    if text_config.get("hf_tokenizer_name"):
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
            _download(repository, name)
    return local_folder(config_path.parent)


def is_cached(repository: str) -> bool:
    """Whether config and weights of a hub model lie in the local cache."""
    from huggingface_hub import try_to_load_from_cache

    def here(name: str) -> bool:
        return isinstance(try_to_load_from_cache(repository, name), str)

    return here(CONFIG_NAME) and any(here(name) for name in WEIGHT_NAMES)


def _download(repository: str, name: str) -> Path | None:
    """One file of a repository in the local cache, or None when the repository has no such file."""
    from huggingface_hub import (
        constants,
        errors,
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )

    model = f"hf-hub:{repository}"
    try:
        cached = try_to_load_from_cache(repository, name)
        if cached is not None:
            return Path(cached) if isinstance(cached, str) else None  # else: known to be missing there
        if name == CONFIG_NAME:
            # The first question is asked once: where no hub answers, a download tries again for minutes.
            get_hf_file_metadata(hf_hub_url(repository, name))
        return Path(hf_hub_download(repository, name))
    except errors.GatedRepoError as error:
        raise ModelUnavailable(
            f"{model} is gated: accept its terms on the hub, then log in with a token (HF_TOKEN)"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnavailable(
            f"{model}: the hub at {constants.ENDPOINT} has no such repository, or it is private and "
            "the token (HF_TOKEN) may not see it"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise _not_to_be_had(model, name, error.__cause__ or error) from error
    except errors.EntryNotFoundError:
        return None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise ModelUnavailable(
                f"{model}: the hub refused the token (HTTP {status}); check HF_TOKEN or log in again"
            ) from error
        raise ModelUnavailable(f"{model}: the hub answered with HTTP {status} for {name}") from error
    except errors.HFValidationError as error:
        raise UnknownEncoder(f"{model} is not a valid repository name: {error}") from error
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # the HTTP client's own base class
        raise _not_to_be_had(model, name, error) from error


def _not_to_be_had(model: str, name: str, reason: BaseException) -> ModelUnavailable:
    from huggingface_hub import constants

    return ModelUnavailable(
        f"{model}: {name} is not in the local cache and cannot be downloaded from the hub at {constants.ENDPOINT} "
        f"({str(reason).strip().partition(chr(10))[0] or type(reason).__name__}); "
        "download it elsewhere and give the folder as local-dir:PATH"
    )
