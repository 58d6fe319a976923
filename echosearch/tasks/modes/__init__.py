"""The modes of zero-shot tasks: a module for each, and a line here. Nothing else knows which there are."""

from __future__ import annotations

from typing import Final

from echosearch.tasks.modes.binary import Binary
from echosearch.tasks.modes.categorical import Categorical
from echosearch.tasks.modes.contrastive import Contrastive
from echosearch.tasks.modes.mode import Mode
from echosearch.tasks.modes.regression import Regression

MODES: Final[dict[str, type[Mode]]] = {
    "binary": Binary,
    "regression": Regression,
    "categorical": Categorical,
    "contrastive": Contrastive,
}
"""Each mode by its name in a task file, in the order in which messages list them."""
