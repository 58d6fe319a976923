"""The sentences that `echo-mini` learns from: everything that may be said of a phantom, in many words.

A `Saying` is a sentence with what makes it true of a video. `UNSEEN` holds sentences that are never learnt
from, though each of their words is: `evaluate_mini.py` asks with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from echosearch.phantom import VISIBLE, Report

Array = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[Any]]
"""What is true of some videos: a column for each field of `Truth`, and `view` and `tint`."""


@dataclass(frozen=True, slots=True)
class Saying:
    """A sentence of a kind; `holds` says of each video how true it is (0 to 1), `applies` whether it can be seen."""

    kind: str
    text: str
    holds: Callable[[Columns], Array]
    applies: Callable[[Columns], npt.NDArray[np.bool_]]


GRADES: Final = {1: ("mild", "mildly"), 2: ("moderate", "moderately"), 3: ("severe", "severely")}
SIZES: Final = {1: ("small", "mild"), 2: ("moderate", "moderate"), 3: ("large", "severe")}

CHAMBERS: Final = {
    "lv_dilation": ("left ventricle", "LV", "left ventricular cavity", "LV cavity"),
    "la_dilation": ("left atrium", "LA", "left atrial chamber", "left atrial cavity"),
    "rv_dilation": ("right ventricle", "RV", "right ventricular cavity", "RV cavity"),
    "ra_dilation": ("right atrium", "RA", "right atrial chamber", "right atrial cavity"),
}
DILATED: Final = (
    "{adj} {n} dilation", "{adj} dilation of the {n}", "{adj} {n} enlargement", "{adj} enlargement of the {n}",
    "the {n} is {adv} dilated", "the {n} is {adv} enlarged", "{adv} dilated {n}", "{adv} enlarged {n}",
    "{n} {adv} dilated",
    "{n} size is {adv} increased", "there is {adj} dilation of the {n}", "{n} dilation, {adj}", "{n}: {adj} dilation",
    "there is {adj} {n} enlargement", "the {n} shows {adj} dilation", "{n} dilation is {adj}",
    "{n} is {adv} dilated in size",
)  # fmt: skip
DILATED_SOMEHOW: Final = (
    "dilated {n}", "{n} dilation", "enlarged {n}", "the {n} is dilated", "{n} enlargement", "the {n} is enlarged",
)  # fmt: skip
NOT_DILATED: Final = (
    "the {n} is normal in size", "normal {n} size", "no {n} dilation", "{n} not dilated", "the {n} is not enlarged",
    "{n} size is normal", "no enlargement of the {n}", "normal {n}", "{n} of normal size", "no dilation of the {n}",
)  # fmt: skip

THICK: Final = (
    "{adj} left ventricular hypertrophy", "{adj} LV hypertrophy", "{adj} LVH", "{adj} concentric LV hypertrophy",
    "LV wall thickness is {adv} increased", "{adj} increase in LV wall thickness",
    "{adv} thickened left ventricular walls",
    "{adj} hypertrophy of the left ventricle", "the walls of the left ventricle are {adv} thickened",
    "left ventricular hypertrophy, {adj}", "there is {adj} left ventricular hypertrophy", "LV hypertrophy is {adj}",
    "{adv} increased wall thickness", "{adj} thickening of the LV walls", "{adj} concentric hypertrophy",
)  # fmt: skip
THICK_SOMEHOW: Final = (
    "left ventricular hypertrophy", "LV hypertrophy", "LVH", "thickened LV walls", "increased LV wall thickness",
)  # fmt: skip
NOT_THICK: Final = (
    "no left ventricular hypertrophy", "LV wall thickness is normal", "normal left ventricular wall thickness",
    "no LVH",
    "no LV hypertrophy", "the walls of the left ventricle are not thickened", "no thickening of the LV walls",
    "normal wall thickness", "wall thickness within normal limits", "there is no hypertrophy of the left ventricle",
)  # fmt: skip

FLUID: Final = (
    "{size} pericardial effusion", "there is a {size} pericardial effusion",
    "{size} circumferential pericardial effusion",
    "{size} amount of pericardial fluid", "pericardial effusion, {size}", "{size} effusion around the heart",
    "pericardial effusion is {size}", "a {size} pericardial effusion is seen",
    "evidence of a {size} pericardial effusion",
    "{size} amount of fluid around the heart", "{size} circumferential effusion", "pericardium: {size} effusion",
)  # fmt: skip
FLUID_SOMEHOW: Final = (
    "pericardial effusion", "pericardial effusion is present", "there is a pericardial effusion", "pericardial fluid",
    "fluid around the heart",
)  # fmt: skip
NO_FLUID: Final = (
    "no pericardial effusion", "there is no pericardial effusion", "no effusion", "the pericardium is free of fluid",
    "no evidence of pericardial effusion", "no pericardial fluid", "no fluid around the heart",
    "normal pericardium, no effusion",
    "no fluid in the pericardial space",
)  # fmt: skip

DEVICES: Final = {
    "pacemaker_lead": (
        ("pacemaker lead", "pacer lead", "pacer wire", "pacing wire", "pacemaker wire", "device lead",
        "pacing lead", "ICD lead",
         "echo-bright lead", "lead of an implanted device"),
        ("{n}", "{n} in the right ventricle", "{n} in the RV", "{n} in the right heart",
        "{n} in the right atrium and right ventricle",
         "a {n} is seen in the right heart", "{n} noted in the RV", "{n} present", "{n} crosses the tricuspid valve",
         "{n} in the right-sided chambers", "a {n} passes from the RA into the RV",
         "a {n} is present in the right ventricle",
         "{n} seen", "echo density in right ventricle suggestive of {n}", "{n} in the RA and RV"),
        ("no {n}", "no {n} is seen", "right heart without {n}", "no {n} in the right heart"),
    ),
    "stent_valve": (
        ("aortic stent valve", "stented aortic bioprosthesis", "transcatheter aortic valve", "TAVR prosthesis",
        "TAVR valve",
         "prosthetic aortic valve", "bioprosthetic aortic valve", "aortic valve prosthesis", "aortic bioprosthesis",
         "prosthetic aortic valve with a stent frame"),
        ("{n}", "{n} in place", "{n} is present", "{n} seen", "well seated {n}", "a {n} is seen at the annulus",
        "{n} noted",
         "status post {n} replacement", "{n} in the aortic position", "the stent frame of a {n} is visible",
         "{n} is seen in place"),
        ("no {n}", "native aortic valve, no {n}", "no {n} is seen", "the aortic valve is native"),
    ),
    "mitral_clip": (
        ("mitral clip", "mitraclip", "mitral valve clip", "edge-to-edge repair clip", "clip on the mitral leaflets",
         "clip device on the mitral valve", "mitral leaflet clip"),
        ("{n}", "{n} in place", "{n} is present", "{n} noted", "a {n} is seen", "{n} with a double orifice",
         "status post edge-to-edge repair, {n}", "{n} joins the mitral leaflets",
         "{n} seen at the tips of the leaflets",
         "the mitral leaflets are held together by a {n}"),
        ("no {n}", "no {n} is seen", "native mitral valve, no {n}", "the mitral leaflets are native"),
    ),
}  # fmt: skip
PUBLISHED_LEAD: Final = (
    "echo density in right ventricle suggestive of catheter, pacer lead, or icd lead.",
    "echo density in right atrium suggestive of catheter, pacer lead, or icd lead.",
)
"""EchoCLIP's published prompts for the pacemaker task."""

EF_NAMES: Final = (
    "LV ejection fraction", "left ventricular ejection fraction", "the left ventricular ejection fraction",
    "ejection fraction",
    "EF", "LVEF", "calculated EF", "the ejection fraction", "estimated ejection fraction", "LV EF",
    "biplane ejection fraction",
    "overall ejection fraction", "left ventricular EF", "visually estimated LVEF",
)  # fmt: skip
EF_VERBS: Final = (
    "{name} is {p}", "{name} is estimated to be {p}", "{name} of {p}", "{name} {p}", "{name}: {p}",
    "{name} = {p}", "{name} is about {p}",
    "{name} approximately {p}", "{name} measures {p}", "{name} is calculated at {p}", "{name} estimated at {p}",
    "{name} around {p}",
    "{name} was {p}", "{name} is approximately {p}", "{name} by visual estimate is {p}",
    "{name} {p} by the method of discs",
    "there is an {name} of {p}", "LV systolic function with {name} of {p}", "{name} is {p} by visual estimate",
    "{name}, {p}",
)  # fmt: skip
PERCENTS: Final = ("{ef}%", "{ef}%.", "{ef} %", "{ef} percent")
EF_RANGES: Final = (
    "{name} {low}-{high}%", "{name} is {low}-{high}%", "{name} between {low} and {high}%", "{name} of {low} to {high}%",
    "{name} is estimated to be {low}-{high}%", "{name}: {low}-{high} %",
)  # fmt: skip

FUNCTIONS: Final = (
    "{w} LV systolic function", "{w} left ventricular systolic function", "LV systolic function is {w}",
    "{w} LV function",
    "{w} left ventricular function", "left ventricular systolic function is {w}", "{w} ejection fraction",
    "overall left ventricular function is {w}", "{w} systolic function of the left ventricle",
    "LV function is {w}", "{w} EF",
    "{w} LVEF", "the left ventricular ejection fraction is {w}",
)  # fmt: skip
FUNCTION_WORDS: Final = {
    (-np.inf, 30): ("severely reduced", "severely impaired", "severely depressed"),
    (30, 45): ("moderately reduced", "moderately impaired", "moderately depressed"),
    (45, 55): ("mildly reduced", "mildly impaired", "mildly depressed"),
    (55, np.inf): ("normal", "preserved"),
    (-np.inf, 50): ("reduced", "impaired", "depressed"),
}

VIEW_NAMES: Final = {
    "A4C": ("apical four chamber", "apical four-chamber", "apical 4 chamber", "A4C", "four chamber apical"),
    "A2C": ("apical two chamber", "apical two-chamber", "apical 2 chamber", "A2C", "two chamber apical"),
    "PLAX": ("parasternal long axis", "parasternal long-axis", "PLAX", "long axis parasternal"),
    "PSAX": ("parasternal short axis", "parasternal short-axis", "PSAX", "short axis parasternal"),
    "SUBCOSTAL": ("subcostal", "subcostal four chamber", "subxiphoid", "subcostal four-chamber"),
}
VIEWINGS: Final = (
    "{n} view",
    "{n}",
    "{n} window",
    "this is the {n} view",
    "{n} image",
    "view: {n}",
    "{n} echocardiogram",
)

TINTS: Final = {
    "grey": ("grey", "gray", "grey scale"),
    "blue": ("blue tinted", "bluish"),
    "sepia": ("sepia tinted", "sepia"),
}
TINTINGS: Final = ("{n} image", "{n} picture", "{n} video", "{n} display")

STIFF: Final = (
    "{r} wall hypokinesis", "hypokinesis of the {r} wall", "the {r} wall is akinetic", "akinesis of the {r} segments",
    "regional wall motion abnormality: {r}", "{r} wall motion is markedly reduced", "the {r} segments hardly move",
)  # fmt: skip
NOT_STIFF: Final = (
    "no regional wall motion abnormality", "wall motion is uniform", "all segments contract alike",
    "symmetric contraction of all walls",
)  # fmt: skip
WALLS: Final = ("anterior", "inferior", "septal", "lateral", "apical")
JOINTS: Final = (", ", " and ", "; ", ". ", " with ", ", ")

UNSEEN: Final[dict[str, tuple[tuple[str, Any], ...]]] = {
    "{adj} increase in {n} size": (("lv_dilation", 3), ("la_dilation", 3), ("rv_dilation", 3)),
    "a {size} amount of effusion in the pericardial space": (("effusion", 3), ("effusion", 2)),
    "the left ventricle shows {adj} hypertrophy of the walls": (("lv_hypertrophy", 3), ("lv_hypertrophy", 2)),
    "right-sided chambers with a pacing lead": (("pacemaker_lead", True),),
    "a pacer wire passes into the right heart": (("pacemaker_lead", True),),
    "stent frame of a bioprosthesis visible in the aortic valve": (("stent_valve", True),),
    "replacement of the aortic valve by a transcatheter prosthesis": (("stent_valve", True),),
    "repair of the mitral valve by a clip": (("mitral_clip", True),),
    "leaflets of the mitral valve held by an edge-to-edge device": (("mitral_clip", True),),
    "the ejection fraction of the left ventricle was about {ef} percent": tuple(
        ("ef_percent", ef) for ef in (20, 35, 50, 65)
    ),
    "systolic function of the LV calculated at {ef}%": tuple(("ef_percent", ef) for ef in (25, 40, 60)),
    "parasternal window, short axis": (("view", "PSAX"),),
    "four chamber view, apical window": (("view", "A4C"),),
}
"""Pattern -> (field, value) for which it is asked. None of these sentences is learnt from; all of their words are."""


def unseen() -> list[tuple[str, str, Any]]:
    """All sentences of `UNSEEN` as (sentence, field, value)."""
    found = []
    for pattern, asked in UNSEEN.items():
        for field, value in asked:
            words: dict[str, Any] = {"ef": value}
            if field in CHAMBERS:
                words["n"] = CHAMBERS[field][0]
            if field in CHAMBERS or field == "lv_hypertrophy":
                words["adj"] = GRADES[value][0]
            if field == "effusion":
                words["size"] = SIZES[value][0]
            found.append((pattern.format(**words), field, value))
    return found


def _visible(field: str) -> Callable[[Columns], npt.NDArray[np.bool_]]:
    return lambda columns: np.isin(columns["view"], sorted(VISIBLE[field]))


def _always(columns: Columns) -> npt.NDArray[np.bool_]:
    return np.ones(len(columns["view"]), bool)


def graded(field: str, grade: int, text: str) -> Saying:
    """A finding of a grade; grade 0 says that it is not there and is asked only where it could be seen."""
    seen = _visible(field)
    if grade == 0:
        return Saying(field, text, lambda columns: (columns[field] == 0).astype(float), seen)
    # Where a view cannot show it, the picture does not show it: such a video is a wrong answer, not an open question.
    return Saying(field, text, lambda columns: (columns[field] == grade) * seen(columns).astype(float), _always)


def somehow(field: str, text: str) -> Saying:
    """A finding of any grade; a mild one is half an answer."""
    weights, seen = np.array([0, 0.5, 1, 1]), _visible(field)
    return Saying(f"{field} somehow", text, lambda columns: weights[columns[field]] * seen(columns), _always)


def device(field: str, there: bool, text: str) -> Saying:
    """A device that is there, or is not."""
    seen = _visible(field)
    if there:
        return Saying(field, text, lambda columns: columns[field] * seen(columns).astype(float), _always)
    return Saying(field, text, lambda columns: 1.0 - columns[field], seen)


def ejection_fraction(value: float, text: str, sigma: float = 4.0) -> Saying:
    """An ejection fraction as a number; near ones are nearly right."""
    return Saying(
        "ef_percent", text, lambda columns: np.exp(-0.5 * ((columns["ef_percent"] - value) / sigma) ** 2), _always
    )


def function(low: float, high: float, text: str) -> Saying:
    """Systolic function in words; the edges are soft, as they are in life."""

    def holds(columns: Columns) -> Array:
        ef = columns["ef_percent"].astype(float)
        inside: Array = (
            1 / (1 + np.exp(-np.clip((ef - low) / 1.5, -30, 30))) / (1 + np.exp(np.clip((ef - high) / 1.5, -30, 30)))
        )
        return inside

    return Saying("function" if (low, high) != (-np.inf, 50) else "function somehow", text, holds, _always)


def label(kind: str, value: str, text: str) -> Saying:
    """A view, a tint, a region."""
    return Saying(kind, text, lambda columns: (columns[kind] == value).astype(float), _always)


def together(parts: Sequence[Saying], text: str, kind: str = "together") -> Saying:
    """Several sayings at once: true where all are."""

    def holds(columns: Columns) -> Array:
        product: Array = np.prod([part.holds(columns) for part in parts], axis=0)
        return product

    return Saying(kind, text, holds, _always)


class Speaker:
    """Draws sentences by chance."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def _pick(self, choices: Sequence[Any]) -> Any:
        return choices[int(self._rng.integers(len(choices)))]

    def graded(self, field: str, grade: int) -> Saying:
        """A finding of a grade."""
        rng_pick = self._pick
        if field in CHAMBERS:
            n = rng_pick(CHAMBERS[field])
            if grade == 0:
                return graded(field, 0, rng_pick(NOT_DILATED).format(n=n))
            adj, adv = GRADES[grade]
            return graded(field, grade, rng_pick(DILATED).format(n=n, adj=adj, adv=adv))
        if field == "lv_hypertrophy":
            if grade == 0:
                return graded(field, 0, rng_pick(NOT_THICK))
            adj, adv = GRADES[grade]
            return graded(field, grade, rng_pick(THICK).format(adj=adj, adv=adv))
        if grade == 0:
            return graded(field, 0, rng_pick(NO_FLUID))
        size = SIZES[grade][0] if self._rng.random() < 0.8 else SIZES[grade][1]
        return graded(field, grade, rng_pick(FLUID).format(size=size))

    def somehow(self, field: str) -> Saying:
        """A finding without its grade."""
        if field in CHAMBERS:
            return somehow(field, self._pick(DILATED_SOMEHOW).format(n=self._pick(CHAMBERS[field])))
        return somehow(field, self._pick(THICK_SOMEHOW if field == "lv_hypertrophy" else FLUID_SOMEHOW))

    def device(self, field: str, there: bool) -> Saying:
        """A device that is there, or is not."""
        names, present, absent = DEVICES[field]
        if field == "pacemaker_lead" and there and self._rng.random() < 0.1:
            return device(field, True, self._pick(PUBLISHED_LEAD))
        return device(field, there, self._pick(present if there else absent).format(n=self._pick(names)))

    def ejection_fraction(self, value: float) -> Saying:
        """A number, or now and then the range of five that holds it."""
        name = self._pick(EF_NAMES)
        if self._rng.random() < 0.12:
            low = 5 * int(value // 5)
            return ejection_fraction(low + 2.5, self._pick(EF_RANGES).format(name=name, low=low, high=low + 5))
        percent = self._pick(PERCENTS).format(ef=round(value))
        return ejection_fraction(round(value), self._pick(EF_VERBS).format(name=name, p=percent))

    def function(self, bounds: tuple[float, float]) -> Saying:
        """Systolic function in words."""
        return function(*bounds, self._pick(FUNCTIONS).format(w=self._pick(FUNCTION_WORDS[bounds])))

    def view(self, view: str) -> Saying:
        """A view."""
        return label("view", view, self._pick(VIEWINGS).format(n=self._pick(VIEW_NAMES[view])))

    def tint(self, tint: str) -> Saying:
        """A tint of the picture."""
        return label("tint", tint, self._pick(TINTINGS).format(n=self._pick(TINTS[tint])))

    def region(self, region: str) -> Saying:
        """A wall that hardly moves, or none."""
        return label("wall_motion", region, self._pick(STIFF if region else NOT_STIFF).format(r=region))

    def abnormal(self, truth: Mapping[str, Any]) -> list[Saying]:
        """All that is not normal in a heart."""
        said = []
        for field in (*CHAMBERS, "lv_hypertrophy", "effusion"):
            if truth[field]:
                said.append(self.graded(field, int(truth[field])) if self._rng.random() < 0.85 else self.somehow(field))
        said += [self.device(field, True) for field in DEVICES if truth[field]]
        bounds = next(bounds for bounds in FUNCTION_WORDS if bounds[0] <= round(truth["ef_percent"]) < bounds[1])
        said.append(self.ejection_fraction(truth["ef_percent"]) if self._rng.random() < 0.5 else self.function(bounds))
        return said

    def together(self, truth: Mapping[str, Any]) -> Saying:
        """Two to four things that are true of a heart, and now and then the view."""
        said = self.abnormal(truth)
        self._rng.shuffle(said)  # type: ignore[arg-type]
        said = said[: int(self._rng.integers(2, 5))]
        if self._rng.random() < 0.25 or len(said) < 2:
            said.insert(int(self._rng.integers(len(said) + 1)), self.view(str(truth["view"])))
        text = said[0].text
        for part in said[1:]:
            text += self._pick(JOINTS) + part.text
        return together(said, text)


def of_report(told: Report, truth: Mapping[str, Any]) -> list[Saying]:
    """What a report says, sentence by sentence, and its impression as a whole."""
    said = []
    for field, text in told.sentences:
        if field == "ef_percent":
            said.append(ejection_fraction(float(truth[field]), text))
        elif field == "wall_motion":
            said.append(label(field, str(truth[field]), text))
        elif field in DEVICES:
            said.append(device(field, bool(truth[field]), text))
        else:
            said.append(graded(field, int(truth[field]), text))
    return said


def impression(told: Report, truth: Mapping[str, Any]) -> Saying:
    """A report's summary: true of other hearts too, the less the more they differ."""

    def holds(columns: Columns) -> Array:
        distance: Array = ((columns["ef_percent"] - truth["ef_percent"]) / 6.0) ** 2
        for field in (*CHAMBERS, "lv_hypertrophy", "effusion"):
            distance = distance + 0.7 * (columns[field] - truth[field]) ** 2 * _visible(field)(columns)
        for field in DEVICES:
            distance = distance + 2.5 * (columns[field] != truth[field]) * _visible(field)(columns)
        return np.exp(-0.5 * distance)

    return Saying("impression", told.impression, holds, _always)
