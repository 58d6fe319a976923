"""Synthetic echocardiograms whose truth is known: studies drawn from a seed, videos, reports, whole archives.

Phantoms for tests, demonstrations and training; they look like echo videos and are nobody's heart.
"""

from echosearch.phantom.archive import encode as encode, make_archive as make_archive
from echosearch.phantom.cues import CUES as CUES, frame_cues as frame_cues
from echosearch.phantom.render import render as render
from echosearch.phantom.report import Report as Report, report as report
from echosearch.phantom.study import Study as Study, Video as Video, draw_studies as draw_studies
from echosearch.phantom.truth import (
    EFFUSION_SIZES as EFFUSION_SIZES,
    REGIONS as REGIONS,
    SEVERITIES as SEVERITIES,
    VIEWS as VIEWS,
    VISIBLE as VISIBLE,
    Truth as Truth,
)
