"""Synthetic echocardiograms whose truth is known: studies drawn from a seed, videos, reports, whole archives.

Phantoms for tests, demonstrations and training; they look like echo videos and are nobody's heart.
"""

from echosearch.phantom.archive import Archive, ArchiveProgress, encode, make_archive
from echosearch.phantom.cues import CUES, frame_cues
from echosearch.phantom.render import render, render_each
from echosearch.phantom.report import Report, report
from echosearch.phantom.study import Study, Video, draw_studies
from echosearch.phantom.truth import EFFUSION_SIZES, REGIONS, SEVERITIES, VIEWS, VISIBLE, Truth

__all__ = [
    "CUES",
    "EFFUSION_SIZES",
    "REGIONS",
    "SEVERITIES",
    "VIEWS",
    "VISIBLE",
    "Archive",
    "ArchiveProgress",
    "Report",
    "Study",
    "Truth",
    "Video",
    "draw_studies",
    "encode",
    "frame_cues",
    "make_archive",
    "render",
    "render_each",
    "report",
]
