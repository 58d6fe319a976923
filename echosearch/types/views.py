"""Does a view show what is asked? Yes, no or unknown: the one rule, asked by everything. Knows names of views only.

A view is known from the manifest, else from a model that is measured to tell views (then it is said to be predicted).
Names are compared as the field writes them, and a level is of its view (PSAX-AV is a PSAX). *No* is another view: such
a video is left out everywhere. *Unknown* is no view, or one that is told too broadly (apical, or A4C and more
words, where A4C is asked):
sweeps list such videos apart, to filters and cohorts their scores are unknown, a prevalence is without them, unless
`all_views` is asked for. Where a label was given for a video (calibrations, probes, evaluations) or its file is asked
for by name (predictions), it is used, and counted in a note.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from echosearch.types.results import Hit, VideoRecord

YES, UNKNOWN, NO = 1, 0, -1
Shown = npt.NDArray[np.int8]

_NAMES: Final = {
    r"(?:a|ap|apical)([2-5])(?:c|ch|cv|chamber)?|([2-5])(?:c|ch|cv|chamber)": "A{}C",
    r"a3c|aplax|alax|apicallongaxis|apicallong|apicallax": "A3C",
    r"plax|(?:parasternal|ps)(?:longaxis|long|lax)": "PLAX",
    r"(?:psax|(?:parasternal|ps)(?:shortaxis|short|sax)|shortaxis|sax)(.*?)(?:level)?": "PSAX {}",
    r"(?:subcostal|subxiphoid|subc?|sc)(?:4(?:c|ch|chamber))?": "SUBCOSTAL",
    r"suprasternal(?:notch)?|ssn": "SSN",
    r"|un(?:known|k|classified|determined|defined|specified|labell?ed)|indeterminate|na|not?available|none": "",
}
_BROADER: Final = {"A": "APICAL", "P": "PARASTERNAL"}
_OTHER_THAN_B_MODE: Final = frozenset({"DOPPLER", "COLOR", "COLOUR", "MODE"})
_NUMBERS: Final = {"two": "2", "three": "3", "four": "4", "five": "5"}


def seen_view(view: str | None, predicted: str | None) -> str | None:
    """The view that the manifest tells, else the predicted one; 'unknown' tells none."""
    return view if predicted is None or view_name(view) else predicted


@cache
def view_name(text: str | None) -> str:
    """A view as it is called here: A4C for `apical four-chamber`, `AP4`, `4CH` ...; another name in capitals.

    What says that none is known is ''.
    """
    text = re.sub(r"[\W_]*views?[\W_]*$", "", unicodedata.normalize("NFKC", text or ""), flags=re.IGNORECASE)
    plain = re.sub(r"[\W_]+", "", text.casefold())
    plain = re.sub("|".join(_NUMBERS), lambda found: _NUMBERS[found[0]], plain)
    for pattern, name in _NAMES.items():
        if found := re.fullmatch(pattern, plain):
            return name.format(next(filter(None, found.groups()), "").upper()).strip()
    return " ".join(re.findall(r"[^\W_]+", text)).upper()


def _kinds(name: str) -> set[str]:
    """A view's own name, and those that it is a kind of."""
    base = name.split()[0] if name.startswith(("PSAX ", "SUBCOSTAL ")) else name
    return {name, base} | ({_BROADER[base[0]]} if re.fullmatch(r"A\dC|P[LS]AX", base) else set())


def _is_among_words(name: str, wanted: set[str]) -> bool:
    """Whether some words of a name that is not known as a whole are one of the `wanted`; a number may be any view."""
    words = set(name.split())
    is_whole = len(words) < 2 or name.startswith(("PSAX ", "SUBCOSTAL ")) or words & _OTHER_THAN_B_MODE
    return name.isdigit() or not (is_whole or wanted.isdisjoint(map(view_name, words)))


def shows(wanted: Sequence[str], views: Iterable[str | None]) -> Shown:
    """For each view (n,) whether what is seen in the `wanted` views is seen in it; yes, where none is named."""
    asked = {view_name(view) for view in wanted}
    broad = {kind for name in asked for kind in _kinds(name)} | {""}

    @cache
    def one(view: str | None) -> int:
        name = view_name(view)
        if not asked or asked & _kinds(name):
            return YES
        return UNKNOWN if name in broad or _is_among_words(name, broad) else NO

    return np.array([one(view) for view in views], np.int8)


def counted(shown: Shown, all_views: bool) -> npt.NDArray[np.bool_]:
    """Which videos (n,) count: those of yes, with `all_views` also those of unknown."""
    return np.asarray((shown == YES) | ((shown == UNKNOWN) & all_views))


def alike(wanted: Sequence[str], views: Iterable[str | None]) -> list[str]:
    """Those of some views that are one of the `wanted`, which are among them as they are written."""
    there = [view for view in views if view is not None]
    return [*wanted, *(view for view, shown in zip(there, shows(wanted, there), strict=True) if shown == YES)]


def in_words(video: VideoRecord | Hit) -> str | None:
    """How a video's view is shown: as the manifest has it, else as it is predicted."""
    seen = seen_view(video.view, video.view_predicted)
    return seen if seen == video.view else f"{seen} (predicted)"


def tally(counts: Mapping[str | None, int]) -> dict[str, int]:
    """How many videos have each view, by its name here, the most frequent first; 'unknown' for none."""
    told: Counter[str] = Counter()
    for view, count in counts.items():
        told[view_name(view) or "unknown"] += count
    return dict(told.most_common())
