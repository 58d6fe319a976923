"""From a file to pixels: reading, frame by frame, and preparing. Knows no model, no index, no torch."""

from echosearch.video.files import (
    MEDIA_SUFFIXES as MEDIA_SUFFIXES,
    content_sha256 as content_sha256,
    find_media as find_media,
    media_path as media_path,
)
from echosearch.video.finder import FileFinder as FileFinder
from echosearch.video.prepare import prepare as prepare
from echosearch.video.read import decoder_name as decoder_name, open_media as open_media
from echosearch.video.worker import prepare_video as prepare_video
