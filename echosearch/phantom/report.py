"""A study's truth in the language of reports. Knows no pictures, and says nothing that the truth does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

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
    indication = _in_style(_pick(rng, _INDICATIONS), style)
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

_INDICATIONS: Final = (
    "Follow-up of ventricular function.",
    "Shortness of breath.",
    "Murmur.",
    "Routine control.",
    "Assessment of chamber sizes.",
    "Known heart failure, control.",
)

_EF: Final = (
    "LV ejection fraction is {ef}%.",
    "The left ventricular ejection fraction is estimated to be {ef}%.",
    "The left ventricular ejection fraction is {ef} %, {words}.",
    "LVEF {ef}%.",
    "EF {low}-{high}%.",
    "Ejection fraction by visual estimate is {low}-{high}%.",
    "Left ventricular systolic function is {words} with an ejection fraction of {ef}%.",
    "{Words} LV systolic function, EF about {ef}%.",
    "Biplane ejection fraction {ef}%.",
    "Overall left ventricular systolic function is {words}, LVEF {ef}%.",
    "LV systolic function is {words} (EF {low}-{high}%).",
    "EF {ef}% by the method of discs (EDV {edv} ml, ESV {esv} ml).",
)

_CHAMBERS: Final = {
    "lv_dilation": ("left ventricle", "LV", "left ventricular cavity"),
    "la_dilation": ("left atrium", "LA", "left atrial chamber"),
    "rv_dilation": ("right ventricle", "RV", "right ventricular cavity"),
    "ra_dilation": ("right atrium", "RA", "right atrial chamber"),
}

_DILATED: Final = (
    "The {long} is {grade}ly dilated.",
    "{Grade} {short} dilation.",
    "The {cavity} is {grade}ly enlarged.",
    "{Long} {grade}ly dilated.",
    "{short} size is {grade}ly increased.",
    "{Grade} dilation of the {long}.",
    "There is {grade} enlargement of the {long}.",
    "{Grade}ly dilated {long}.",
    "{short} {grade}ly enlarged.",
    "The {long} shows {grade} dilation.",
)
_NOT_DILATED: Final = (
    "The {long} is normal in size.",
    "Normal {short} size.",
    "The {cavity} is not dilated.",
    "{Long} size is normal.",
    "No {short} dilation.",
    "{short} of normal size.",
    "The {long} is of normal dimensions.",
    "{Long} not enlarged.",
)

_THICK: Final = (
    "{Grade} left ventricular hypertrophy.",
    "{Grade} concentric LV hypertrophy.",
    "LV wall thickness is {grade}ly increased.",
    "There is {grade} hypertrophy of the left ventricle.",
    "The left ventricular walls are {grade}ly thickened.",
    "{Grade}ly increased LV wall thickness.",
    "Left ventricular hypertrophy, {grade}.",
    "{Grade} LVH.",
)
_NOT_THICK: Final = (
    "No left ventricular hypertrophy.",
    "LV wall thickness is normal.",
    "Normal left ventricular wall thickness.",
    "The left ventricular walls are not thickened.",
    "No LVH.",
    "Wall thickness within normal limits.",
    "There is no hypertrophy of the left ventricle.",
)

_FLUID: Final = (
    "{Grade} pericardial effusion.",
    "There is a {grade} pericardial effusion.",
    "A {grade} circumferential pericardial effusion is seen.",
    "{Grade} amount of pericardial fluid around the heart.",
    "Pericardial effusion, {grade}.",
    "Echo-free space around the heart, {grade} effusion.",
    "Evidence of a {grade} pericardial effusion.",
    "{Grade} circumferential effusion.",
)
_NO_FLUID: Final = (
    "No pericardial effusion.",
    "There is no pericardial effusion.",
    "No effusion.",
    "The pericardium is free of fluid.",
    "Pericardium normal, no effusion.",
    "No evidence of pericardial effusion.",
    "No fluid in the pericardial space.",
)

_DEVICE: Final = {
    "pacemaker_lead": (
        "A pacemaker lead is seen in the right heart.",
        "Pacer wire in the right atrium and right ventricle.",
        "Device lead crosses the tricuspid valve.",
        "Echo-bright lead in the right ventricle, consistent with a pacemaker.",
        "Pacemaker wire present.",
        "Pacing lead noted in the RV.",
        "A pacer lead passes from the RA into the RV.",
        "Lead of an implanted device in the right-sided chambers.",
    ),
    "stent_valve": (
        "A stented bioprosthesis is present in the aortic position.",
        "Transcatheter aortic valve in place.",
        "Prosthetic aortic valve with a stent frame.",
        "Aortic stent valve seen at the annulus.",
        "Well seated TAVR prosthesis.",
        "Status post transcatheter aortic valve replacement.",
        "The stent frame of an aortic prosthesis is visible.",
        "Bioprosthetic aortic valve, stent type.",
    ),
    "mitral_clip": (
        "A clip is seen on the mitral leaflets.",
        "Mitral clip in place with a double orifice.",
        "Status post edge-to-edge mitral repair with a clip.",
        "Edge-to-edge repair clip joins the mitral leaflets.",
        "Mitral valve clip present.",
        "Clip device at the tips of the mitral leaflets.",
        "The mitral leaflets are held together by a clip.",
        "Mitral clip noted.",
    ),
}
_NO_DEVICE: Final = {
    "pacemaker_lead": ("No device lead is seen.", "No pacemaker lead.", "Right heart without leads."),
    "stent_valve": ("Native aortic valve.", "No aortic prosthesis.", "The aortic valve is native."),
    "mitral_clip": ("No mitral clip.", "The mitral leaflets are native.", "No device on the mitral valve."),
}
_DEVICE_SAID_ABSENT: Final = 0.3
"""How often a report mentions a device that is not there."""

_STIFF: Final = (
    "{Region} wall hypokinesis.",
    "Hypokinesis of the {region} wall.",
    "The {region} wall is akinetic.",
    "There is akinesis of the {region} segments.",
    "Regional wall motion abnormality: {region}.",
    "{Region} wall motion is markedly reduced.",
    "The {region} segments hardly move.",
    "Severe hypokinesis of the {region} segments.",
)
_NOT_STIFF: Final = (
    "No regional wall motion abnormality.",
    "Wall motion is uniform.",
    "No segmental wall motion abnormalities.",
    "All segments contract alike.",
    "There are no regional wall motion abnormalities.",
    "Symmetric contraction of all walls.",
)


def _sentences(truth: Truth, rng: np.random.Generator) -> dict[str, str]:
    """Field of `Truth` -> what the report says of it; devices that are not there are rarely mentioned."""
    said = {"ef_percent": _pick(rng, _EF).format(**_numbers(truth))}
    for kind, (long, short, cavity) in _CHAMBERS.items():
        words = {"long": long, "Long": long.capitalize(), "short": short, "cavity": cavity}
        said[kind] = _graded(rng, SEVERITIES[getattr(truth, kind)], _DILATED, _NOT_DILATED, words)
    said["lv_hypertrophy"] = _graded(rng, SEVERITIES[truth.lv_hypertrophy], _THICK, _NOT_THICK, {})
    said["effusion"] = _graded(rng, EFFUSION_SIZES[truth.effusion], _FLUID, _NO_FLUID, {})
    region = truth.wall_motion or ""
    said["wall_motion"] = _pick(rng, _STIFF if region else _NOT_STIFF).format(region=region, Region=region.capitalize())
    for kind in DEVICES:
        mentioned = rng.random() < _DEVICE_SAID_ABSENT
        if getattr(truth, kind):
            said[kind] = _pick(rng, _DEVICE[kind])
        elif mentioned:
            said[kind] = _pick(rng, _NO_DEVICE[kind])
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
    rng: np.random.Generator, grade: str, there: Sequence[str], absent: Sequence[str], words: Mapping[str, str]
) -> str:
    return _pick(rng, absent if grade == "none" else there).format(grade=grade, Grade=grade.capitalize(), **words)


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
