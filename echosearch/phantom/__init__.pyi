from .archive import Archive as Archive, encode as encode, make_archive as make_archive
from .cues import CUES as CUES, frame_cues as frame_cues
from .render import render as render
from .report import Report as Report, report as report
from .study import Study as Study, Video as Video, draw_studies as draw_studies
from .truth import (
    EFFUSION_SIZES as EFFUSION_SIZES,
    REGIONS as REGIONS,
    SEVERITIES as SEVERITIES,
    VIEWS as VIEWS,
    VISIBLE as VISIBLE,
    Truth as Truth,
)
