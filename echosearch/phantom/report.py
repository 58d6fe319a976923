"""A study's truth in the language of reports. Knows no pictures, and says nothing that the truth does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import yaml

from echosearch.phantom.study import Study
from echosearch.phantom.truth import DEVICES, EFFUSION_SIZES, GRADED, SEVERITIES, Truth

HEADER: Final = "TRANSTHORACIC ECHOCARDIOGRAM - SYNTHETIC PHANTOM"

_WORDING = 14
"""What the random stream is for, as part of its seed."""


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report; its findings as (field of `Truth`, sentence); one sentence that sums up."""

    text: str
    sentences: tuple[tuple[str, str], ...]
    impression: str


def report(study: Study) -> Report:
    """The report of a study; the same study always gets the same words."""
    rng = np.random.default_rng([*study.videos[0].seed[:3], _WORDING])
    style = str(rng.choice(("upper", "sentence", "lower"), p=(0.4, 0.48, 0.12)))
    sentences = {kind: _in_style(said, style) for kind, said in _sentences(study.truth, rng).items()}
    impression = _in_style(_impression(study.truth, rng), style)
    indication = _in_style(_pick(rng, _wording()["indications"]), style)
    lines = [
        HEADER,
        f"Study {study.study_id}, {study.acquired_at.isoformat()}",
        "",
        "INDICATION",
        indication,
        "",
        "FINDINGS",
    ]
    for title, kinds in _SECTIONS.items():
        said = [sentences[kind] for kind in kinds if kind in sentences]
        if said:
            lines.append(f"{title}: {' '.join(said)}")
    lines += ["", "IMPRESSION", impression]
    return Report("\n".join(lines) + "\n", tuple(sentences.items()), impression)


def ef_words(ef_percent: float) -> str:
    """What the left ventricle's systolic function is called."""
    rounded = round(ef_percent)  # the number that is read beside the words
    if rounded >= 55:
        return "normal"
    return "mildly reduced" if rounded >= 45 else "moderately reduced" if rounded >= 30 else "severely reduced"


_SECTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "Left ventricle": ("lv_dilation", "lv_hypertrophy", "ef_percent", "wall_motion"),
        "Right ventricle": ("rv_dilation", "pacemaker_lead"),
        "Atria": ("la_dilation", "ra_dilation"),
        "Valves": ("stent_valve", "mitral_clip"),
        "Pericardium": ("effusion",),
    }
)

_CHAMBERS: Final = {
    "lv_dilation": ("left ventricle", "LV", "left ventricular cavity"),
    "la_dilation": ("left atrium", "LA", "left atrial chamber"),
    "rv_dilation": ("right ventricle", "RV", "right ventricular cavity"),
    "ra_dilation": ("right atrium", "RA", "right atrial chamber"),
}

_DEVICE_SAID_ABSENT: Final = 0.3
"""How often a report mentions a device that is not there."""


@lru_cache(maxsize=1)
def _wording() -> Any:
    """Kind of finding -> its sentences, or `present` and `absent` -> those."""
    return yaml.safe_load(resources.files(__package__).joinpath("wording.yaml").read_text("utf-8"))


def _sentences(truth: Truth, rng: np.random.Generator) -> dict[str, str]:
    """Field of `Truth` -> what the report says of it; devices that are not there are rarely mentioned."""
    wording = _wording()
    said = {"ef_percent": _pick(rng, wording["ef_percent"]).format(**_numbers(truth))}
    for kind, (long, short, cavity) in _CHAMBERS.items():
        words = {"long": long, "Long": long.capitalize(), "short": short, "cavity": cavity}
        said[kind] = _graded(rng, SEVERITIES[getattr(truth, kind)], wording["dilation"], words)
    said["lv_hypertrophy"] = _graded(rng, SEVERITIES[truth.lv_hypertrophy], wording["lv_hypertrophy"], {})
    said["effusion"] = _graded(rng, EFFUSION_SIZES[truth.effusion], wording["effusion"], {})
    region = truth.wall_motion or ""
    motion = _pick(rng, wording["wall_motion"]["present" if region else "absent"])
    said["wall_motion"] = motion.format(region=region, Region=region.capitalize())
    for kind in DEVICES:
        mentioned = rng.random() < _DEVICE_SAID_ABSENT
        if getattr(truth, kind):
            said[kind] = _pick(rng, wording[kind]["present"])
        elif mentioned:
            said[kind] = _pick(rng, wording[kind]["absent"])
    return said


def _numbers(truth: Truth) -> dict[str, object]:
    low = int(truth.ef_percent // 5) * 5
    words = ef_words(truth.ef_percent)
    return {
        "ef": round(truth.ef_percent),
        "low": low,
        "high": low + 5,
        "words": words,
        "Words": words.capitalize(),
        "edv": round(truth.edv_ml),
        "esv": round(truth.esv_ml),
    }


def _graded(
    rng: np.random.Generator, grade: str, wording: Mapping[str, Sequence[str]], words: Mapping[str, str]
) -> str:
    said = _pick(rng, wording["absent" if grade == "none" else "present"])
    return said.format(grade=grade, Grade=grade.capitalize(), **words)


def _impression(truth: Truth, rng: np.random.Generator) -> str:
    """The ejection fraction and everything that is not normal, in one sentence."""
    grades = {kind: (EFFUSION_SIZES if kind == "effusion" else SEVERITIES)[getattr(truth, kind)] for kind in GRADED}
    nouns = {kind: f"{_CHAMBERS[kind][1]} dilation" for kind in _CHAMBERS}
    nouns |= {"lv_hypertrophy": "LV hypertrophy", "effusion": "pericardial effusion"}
    found = [f"{grade} {nouns[kind]}" for kind, grade in grades.items() if grade != "none"]
    if truth.wall_motion:
        found.append(f"{truth.wall_motion} wall motion abnormality")
    devices = {"pacemaker_lead": "pacemaker lead", "stent_valve": "aortic stent valve", "mitral_clip": "mitral clip"}
    found += [noun for kind, noun in devices.items() if getattr(truth, kind)]
    ef = _pick(rng, ("LV ejection fraction {ef}%", "LVEF {ef}%", "EF {ef}%, {words} LV systolic function"))
    rest = ", ".join(found) if found else _pick(rng, ("otherwise normal", "no other abnormal finding"))
    return f"{ef.format(**_numbers(truth))}; {rest}."


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _in_style(sentence: str, style: str) -> str:
    return sentence.upper() if style == "upper" else sentence.lower() if style == "lower" else sentence
