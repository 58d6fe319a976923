"""From a file to pixels: reading, frame by frame, and preparing. Knows no model, no index, no torch."""

from echosearch.video.files import MEDIA_SUFFIXES, content_sha256, find_media, media_path
from echosearch.video.finder import FileFinder
from echosearch.video.prepare import prepare
from echosearch.video.read import OpenMedia, decoder_name, open_media
from echosearch.video.worker import prepare_video

__all__ = [
    "MEDIA_SUFFIXES",
    "FileFinder",
    "OpenMedia",
    "content_sha256",
    "decoder_name",
    "find_media",
    "media_path",
    "open_media",
    "prepare",
    "prepare_video",
]
