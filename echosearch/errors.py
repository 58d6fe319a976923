"""Every error that echosearch raises on purpose; knows no other module.

    EchoSearchError
      InputError         what was asked cannot be done as asked     exit code 2
        UnreadableVideo    the file cannot be decoded
          InaccessibleVideo  the file cannot be opened, today
        UnsupportedVideo   the file decodes, but cannot be used as it is
        BadQuery           the question has no answer as it stands
        BadManifest        a manifest CSV that cannot be used
        BadEmbeddings      a file of embeddings that cannot be used
        BadTask            a zero-shot task that cannot be used as it is written
        UnknownTask        no such task
        BadLabels          a file of labels that cannot be used
        BadFilter          a condition that cannot be used as it is written
        UnknownCohort      no such cohort
        BadOption          an option or setting with a value outside its range
        UnknownVideo       no such video in the index
        UnknownEncoder     no such model, or none was named
        ModelUnavailable   the model is known, its weights cannot be had
        MissingExtra       an optional package is needed
      IndexStateError    the index does not allow it                 exit code 3
        IndexNotFound
        SpaceMismatch      the model at hand is not the index's
        RecipeMismatch     same model, prepared in another way
        CalibrationMismatch  a calibration or probe of another recipe or task
        NumericsMismatch   this machine does not reproduce the index's fingerprint
        CatalogSegmentsDisagree
        DamagedIndex       a file of the index is not what was written
          OutOfReach         a file of the index is missing or cannot be read, today
            ReadRefused        a file of the index is there, but this process may not or cannot read it
        NewerFormat
        IndexLocked
      BackendError       something beneath us failed                 exit code 4
        EncoderFailed      the model gave something that is no embedding
        DeviceUnavailable

Messages say what is wrong, with which value, and the way out. Only `cli` turns them into exit codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_SHOWN = 60
"""Characters of what a user wrote in a message."""


def shown(text: str) -> str:
    """What a user wrote, in quotes, as a message has it: its beginning, where it is long."""
    return repr(str(text) if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


_LISTED: Final = 20
"""Names in a message before it only counts the rest."""


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """How a sentence about a name that is not among the known ones ends: what it is like, else `otherwise` or all."""
    names = list(known)
    if near := get_close_matches(name, names, n=3):
        return f"did you mean {' or '.join(near)}?"
    if otherwise:
        return otherwise
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"there are {', '.join(names[:_LISTED]) or 'none'}{more}"


class EchoSearchError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 4

    @classmethod
    def code(cls) -> str:
        """The error's name for scripts, e.g. `unreadable-video`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()


class InputError(EchoSearchError):
    """What was asked cannot be done as asked."""

    exit_code = 2


class UnreadableVideo(InputError):
    """The file cannot be decoded."""


class InaccessibleVideo(UnreadableVideo):
    """The file cannot be opened, today: its bytes may be good."""


class UnsupportedVideo(InputError):
    """The file decodes, but cannot be used as it is."""


class BadQuery(InputError):
    """The question has no answer as it stands."""


class BadManifest(InputError):
    """A manifest CSV that cannot be used."""


class BadEmbeddings(InputError):
    """A file of embeddings that cannot be used."""


class BadTask(InputError):
    """A zero-shot task that cannot be used as it is written; `where` leads to what is wrong in it, from its key on."""

    def __init__(self, message: str, *where: str | int) -> None:
        super().__init__(message)
        self.where = where


class UnknownTask(InputError):
    """No such task."""


class BadLabels(InputError):
    """A file of labels that cannot be used."""


class BadFilter(InputError):
    """A condition that cannot be used as it is written."""


class UnknownCohort(InputError):
    """No such cohort in the index."""


class BadOption(InputError):
    """An option or setting with a value outside its range."""


class UnknownVideo(InputError):
    """No such video in the index."""


class UnknownEncoder(InputError):
    """No such model, or none was named."""


class ModelUnavailable(InputError):
    """The model is known, but its weights cannot be had here."""


class MissingExtra(InputError):
    """An optional package is needed for this."""


class IndexStateError(EchoSearchError):
    """The index does not allow it."""

    exit_code = 3


class IndexNotFound(IndexStateError):
    """There is no index at this path."""


class SpaceMismatch(IndexStateError):
    """The model at hand is not the one that the index was made with."""


class RecipeMismatch(IndexStateError):
    """The same model, but videos would be prepared in another way."""


class CalibrationMismatch(IndexStateError):
    """A calibration or probe that was made for another recipe or task."""


class NumericsMismatch(IndexStateError):
    """This machine does not reproduce the index's fingerprint."""


class CatalogSegmentsDisagree(IndexStateError):
    """The catalog and the segments do not tell the same story."""


class DamagedIndex(IndexStateError):
    """A file of the index is not what was written."""


class OutOfReach(DamagedIndex):
    """A file of the index is missing or cannot be read, today: its bytes may be good."""


class ReadRefused(OutOfReach):
    """A file of the index is there, but this process may not or cannot read it: nothing is lost."""


class NewerFormat(IndexStateError):
    """The index was written by a newer echosearch."""


class IndexLocked(IndexStateError):
    """Another process is writing to the index."""


class BackendError(EchoSearchError):
    """Something beneath us failed."""

    exit_code = 4


class EncoderFailed(BackendError):
    """The model gave something that is no embedding."""


class DeviceUnavailable(BackendError):
    """The device asked for is not there."""
