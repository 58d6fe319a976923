from .files import (
    MEDIA_SUFFIXES as MEDIA_SUFFIXES,
    FileFinder as FileFinder,
    content_sha256 as content_sha256,
    find_media as find_media,
    media_path as media_path,
)
from .pixels import prepare as prepare, prepare_video as prepare_video
from .read import decoder_name as decoder_name, open_media as open_media
