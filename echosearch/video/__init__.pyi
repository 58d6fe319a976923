from .files import (
    MEDIA_SUFFIXES as MEDIA_SUFFIXES,
    content_sha256 as content_sha256,
    find_media as find_media,
    media_path as media_path,
)
from .finder import FileFinder as FileFinder
from .prepare import prepare as prepare
from .read import decoder_name as decoder_name, open_media as open_media
from .worker import prepare_video as prepare_video
