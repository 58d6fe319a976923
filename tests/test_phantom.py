"""Phantoms: the truth is what is drawn, words say the truth, archives are whole or not there."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from echosearch.errors import BackendError, BadOption, MissingExtra
from echosearch.ingest import read_metadata
from echosearch.phantom import (
    CUES,
    EFFUSION_SIZES,
    REGIONS,
    SEVERITIES,
    VIEWS,
    VISIBLE,
    Study,
    Truth,
    Video,
    draw_studies,
    encode,
    frame_cues,
    make_archive,
    render,
    report,
)
from echosearch.phantom.heart import END_SYSTOLE, contraction_at, disc_volume_ml
from echosearch.phantom.render import Motion
from echosearch.phantom.report import ef_words
from echosearch.phantom.truth import DEVICES, GRADED
from echosearch.phantom.views import draw_scene
from echosearch.video import open_media

Run = Callable[..., tuple[int, str, str]]

SIZE = (96, 96)


@pytest.fixture(scope="module")
def studies() -> tuple[Study, ...]:
    """Two thousand studies; nothing is rendered."""
    return draw_studies(2000, 7)


@pytest.fixture(scope="module")
def by_view(studies: tuple[Study, ...]) -> dict[str, list[Video]]:
    found: dict[str, list[Video]] = {view: [] for view in VIEWS}
    for study in studies[:200]:
        for video in study.videos:
            found[video.view].append(video)
    return found


def outline_radii(video: Video, phase: float) -> tuple[float, np.ndarray]:
    """Length, and (2, levels) radii of both sides, measured on the polygon that is painted in an apical view."""
    lv = draw_scene(video, phase).outlines["lv"]
    levels = len(lv) // 2 + 1
    left, right = lv[:levels][::-1], lv[levels - 1 :]
    apex, ring = lv[levels - 1], (left[-1] + right[-1]) / 2
    inward = right[-1] - left[-1]
    across = inward / np.linalg.norm(inward)
    along = np.array([-across[1], across[0]])
    along *= np.sign(np.dot(ring - apex, along))
    return float(np.dot(ring - apex, along)), np.stack([(apex - left) @ across, (right - apex) @ across])


def test_ef_is_that_of_the_painted_contours(by_view: dict[str, list[Video]]) -> None:
    for video in by_view["A4C"][:15]:
        other = replace(video, view="A2C")
        volumes = []
        for phase in np.append(np.linspace(0, 1, 41), END_SYSTOLE):
            length, sides = outline_radii(video, phase)
            _, other_sides = outline_radii(other, phase)
            volumes.append(disc_volume_ml(length, np.concatenate([sides, other_sides])))
        edv, esv = max(volumes), min(volumes)
        assert edv == pytest.approx(video.truth.edv_ml, rel=1e-9)
        assert esv == pytest.approx(video.truth.esv_ml, rel=1e-9)
        assert 100 * (edv - esv) / edv == pytest.approx(video.truth.ef_percent, abs=1e-6)


def test_discs_by_hand() -> None:
    assert disc_volume_ml(8, np.full((4, 25), 2.0)) == pytest.approx(np.pi * 4 * 8)  # a cylinder
    assert contraction_at(0) == contraction_at(1) == 0
    assert contraction_at(END_SYSTOLE) == 1


def test_truth_checks_itself() -> None:
    Truth(50, 100, 50)
    for wrong, message in (
        ({"ef_percent": 80}, "10 to 75"),
        ({"esv_ml": 120}, "ESV < EDV"),
        ({"esv_ml": 51}, "no ejection fraction"),
        ({"effusion": 4}, "effusion is a grade"),
        ({"wall_motion": "left"}, "wall_motion is one of"),
    ):
        with pytest.raises(ValueError, match=message):
            Truth(**({"ef_percent": 50, "edv_ml": 100, "esv_ml": 50} | wrong))


def test_no_still_cue_gives_the_ejection_fraction_away(studies: tuple[Study, ...]) -> None:
    """Each |r| <= 0.7 at end-diastole, where motion has said nothing; all of them together say much."""
    ef = np.array([study.truth.ef_percent for study in studies])
    company = {name: [getattr(study.videos[0].company, name) for study in studies] for name in
               ("sphericity", "apex_roundness", "leaflet_opening", "tenting_cm", "thickening", "smoke")}  # fmt: skip
    findings = {name: [getattr(study.truth, name) for study in studies] for name in (*GRADED, *DEVICES)}
    for name, values in (company | findings).items():
        assert abs(np.corrcoef(ef, values)[0, 1]) <= 0.7, name
    assert min(abs(np.corrcoef(ef, company[name])[0, 1]) for name in company) > 0.4
    videos = [video for study in studies for video in study.videos if video.view == "A4C"][:700]
    of_videos = np.array([video.truth.ef_percent for video in videos])
    ed = np.array([frame_cues(video, [at_phase(video, 0.0)])[0] for video in videos])
    for name, column in zip(CUES, ed.T, strict=True):
        assert abs(np.corrcoef(of_videos, column)[0, 1]) <= 0.7 or np.isnan(column).any(), name
    es = np.array([frame_cues(video, [at_phase(video, END_SYSTOLE)])[0] for video in videos])
    assert error_of_a_fit(ed, of_videos) < 9
    assert error_of_a_fit(np.hstack([ed, es]), of_videos) < error_of_a_fit(ed, of_videos) - 2


def at_phase(video: Video, phase: float) -> int:
    """The frame nearest to a phase."""
    motion = Motion(video)
    apart = [abs((motion.at(number)[0] - phase + 0.5) % 1 - 0.5) for number in range(video.num_frames)]
    return int(np.argmin(apart))


def error_of_a_fit(cues: np.ndarray, ef: np.ndarray) -> float:
    """Mean absolute error of a straight-line fit on one half, on the other."""
    design = np.hstack([np.nan_to_num(cues), np.ones((len(cues), 1))])
    half = len(design) // 2
    weights = np.linalg.lstsq(design[:half], ef[:half], rcond=None)[0]
    return float(np.abs(design[half:] @ weights - ef[half:]).mean())


def test_findings_are_as_frequent_as_said(studies: tuple[Study, ...]) -> None:
    def share(name: str, least: int = 1) -> float:
        return float(np.mean([int(getattr(study.truth, name)) >= least for study in studies]))

    for name in ("lv_dilation", "la_dilation", "rv_dilation", "ra_dilation"):
        assert 0.09 <= share(name, 3) <= 0.16, name
    assert 0.09 <= share("effusion", 2) <= 0.15
    assert 0.14 <= share("lv_hypertrophy", 2) <= 0.22
    assert 0.16 <= share("pacemaker_lead") <= 0.25
    assert 0.09 <= share("stent_valve") <= 0.16
    assert 0.07 <= share("mitral_clip") <= 0.14
    assert {study.truth.wall_motion for study in studies} == {None, *REGIONS}
    ef = [study.truth.ef_percent for study in studies]
    assert min(np.histogram(ef, [10, 20, 30, 40, 50, 60, 70])[0]) > 0.08 * len(ef)


def test_media_are_mixed(studies: tuple[Study, ...]) -> None:
    videos = [video for study in studies for video in study.videos]
    assert 3 <= len(videos) / len(studies) <= 4
    sizes = [(video.height, video.width) for video in videos]
    assert np.mean([size == (112, 112) for size in sizes]) == pytest.approx(0.4, abs=0.03)
    assert np.mean([size == (600, 800) for size in sizes]) == pytest.approx(0.2, abs=0.03)
    assert all(300 <= side <= 500 for size in sizes if size not in ((112, 112), (600, 800)) for side in size)
    assert np.mean([video.suffix == ".mp4" for video in videos]) == pytest.approx(0.5, abs=0.05)
    assert len({video.fps for video in videos}) > 5
    whole = [a_beat_is_seen(video) for video in videos[:1500]]
    assert np.mean(whole) >= 0.9
    per_patient = np.unique([study.patient_id for study in studies], return_counts=True)[1]
    assert 0.15 < np.mean(per_patient > 1) < 0.35


def a_beat_is_seen(video: Video) -> bool:
    motion = Motion(video)
    beats = [motion.beats_at(number) for number in range(0, min(40, video.num_frames), 2)]
    return beats[-1] - beats[0] >= 1


def test_studies_do_not_depend_on_how_many_are_drawn(studies: tuple[Study, ...]) -> None:
    assert draw_studies(25, 7) == studies[:25]
    others = {video.video_id for study in draw_studies(25, 8) for video in study.videos}
    assert others.isdisjoint(video.video_id for study in studies for video in study.videos)
    names = [video.name for study in studies for video in study.videos]
    assert len(names) == len(set(names))
    dates: dict[str, list[object]] = {}
    for study in studies:
        dates.setdefault(study.patient_id, []).append(study.acquired_at)
        assert {video.truth for video in study.videos} == {study.truth}
    assert all(found == sorted(found) for found in dates.values())


def test_a_frame_alone_is_the_frame_of_the_video(by_view: dict[str, list[Video]]) -> None:
    for view in VIEWS:
        video = by_view[view][0]
        whole = render(video, size=SIZE)
        assert whole.shape == (video.num_frames, *SIZE, 3)
        assert whole.dtype == np.uint8
        for number in (0, 13, video.num_frames - 1):
            np.testing.assert_array_equal(render(video, [number], size=SIZE)[0], whole[number])
        assert (whole[0] != whole[1]).mean() > 0.2
    small = next(video for video in by_view["A4C"] if video.height == 112)
    assert render(small, [3]).shape == (1, 112, 112, 3)


def test_the_same_video_in_another_process_is_the_same(by_view: dict[str, list[Video]]) -> None:
    video = draw_studies(1, 7)[0].videos[0]
    program = (
        "import hashlib; from echosearch.phantom import draw_studies, render; "
        "print(hashlib.sha256(render(draw_studies(3, 7)[0].videos[0], [0, 5], size=(96, 96)).tobytes()).hexdigest())"
    )
    import hashlib

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert told == hashlib.sha256(render(video, [0, 5], size=SIZE).tobytes()).hexdigest()


OTHER = {
    "ef_percent": 20.0, "lv_dilation": 3, "la_dilation": 3, "rv_dilation": 3, "ra_dilation": 3, "lv_hypertrophy": 3,
    "effusion": 3, "pacemaker_lead": True, "stent_valve": True, "mitral_clip": True, "wall_motion": "lateral",
}  # fmt: skip


@pytest.mark.parametrize("finding", VISIBLE)
@pytest.mark.parametrize("view", VIEWS)
def test_a_finding_changes_the_views_that_show_it_and_no_other(
    finding: str, view: str, by_view: dict[str, list[Video]]
) -> None:
    plain = dict.fromkeys(GRADED, 0) | dict.fromkeys(DEVICES, False) | {"ef_percent": 50.0, "wall_motion": None}
    without = by_view[view][1].with_findings(**plain)
    toggled = without.with_findings(**{finding: OTHER[finding]})
    numbers = [at_phase(without, END_SYSTOLE)]
    apart = np.abs(render(without, numbers, size=SIZE).astype(int) - render(toggled, numbers, size=SIZE))
    if view in VISIBLE[finding]:
        assert (apart > 25).sum() > 30
    else:
        assert apart.max() == 0


def test_cues_are_what_is_drawn(by_view: dict[str, list[Video]]) -> None:
    video = by_view["A4C"][2]
    cues = frame_cues(video)
    assert cues.shape == (video.num_frames, len(CUES))
    areas = cues[:, CUES.index("lv_area")]
    assert areas.max() > areas.min() * 1.02
    np.testing.assert_array_equal(frame_cues(video, [7])[0], cues[7])
    two_chamber = frame_cues(by_view["A2C"][0], [0])[0]
    assert np.isnan(two_chamber[CUES.index("ra_area")])
    lv = draw_scene(video, 0.0).outlines["lv"]
    x, y = (lv / video.look.depth_cm).T
    area = abs(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2
    assert frame_cues(video, [at_phase(video, 0.0)])[0, 0] == pytest.approx(area, rel=0.05)


def numbers_in(sentence: str) -> tuple[int, int]:
    """The ejection fraction that a sentence names, as bounds."""
    if match := re.search(r"(\d+)-(\d+)%", sentence):
        return int(match[1]), int(match[2])
    match = re.search(r"(\d+) ?%", sentence)
    assert match, sentence
    return int(match[1]), int(match[1])


def test_reports_say_the_truth(studies: tuple[Study, ...]) -> None:
    styles, wordings = set(), set()
    for study in studies[:600]:
        told, truth = report(study), study.truth
        sentences = dict(told.sentences)
        assert set(sentences) >= {*GRADED, "ef_percent", "wall_motion"}
        for sentence in sentences.values():
            assert sentence in told.text
            assert "{" not in sentence
        for sentence in (sentences["ef_percent"], told.impression):
            low, high = numbers_in(sentence)
            assert low - 0.5 <= truth.ef_percent <= high + 0.5, sentence
            for words in ("normal lv", "normal left", "is normal", "mildly", "moderately reduced", "severely reduced"):
                if f"{words}" in sentence.lower().split(";")[0]:
                    assert words.split()[0] in ef_words(truth.ef_percent) or words == "is normal", sentence
        for kind in GRADED:
            grades = EFFUSION_SIZES if kind == "effusion" else SEVERITIES
            named = [grade for grade in grades[1:] if re.search(rf"\b{grade}(ly)?\b", sentences[kind].lower())]
            assert named == ([grades[getattr(truth, kind)]] if getattr(truth, kind) else []), sentences[kind]
        named = [region for region in REGIONS if region in sentences["wall_motion"].lower()]
        assert named == ([truth.wall_motion] if truth.wall_motion else [])
        for kind in DEVICES:
            if kind in sentences:
                absent = bool(re.search(r"\b(no|native|without)\b", sentences[kind].lower()))
                assert absent != getattr(truth, kind), sentences[kind]
            else:
                assert not getattr(truth, kind)
        abnormal = sum(getattr(truth, kind) > 0 for kind in GRADED) + sum(getattr(truth, kind) for kind in DEVICES)
        abnormal += truth.wall_motion is not None
        findings = told.impression.split(";")[1]
        assert findings.count(",") + 1 == max(abnormal, 1), told.impression
        assert told.text.lower().count("synthetic phantom") == 1
        assert "synthetic phantom" in told.text.splitlines()[0].lower()
        styles.add((told.impression.isupper(), told.impression.islower()))
        wordings.add(re.sub(r"\d+", "#", sentences["ef_percent"]).lower())
    assert len(styles) == 3
    assert len(wordings) > 10
    assert report(studies[3]) == report(studies[3])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("archives") / "phantoms"
    seen: list[tuple[int, int]] = []
    made = make_archive(folder, 2, 5, workers=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number + 1, made.videos) for number in range(made.videos)]
    return folder


def test_an_archive_can_be_read(archive: Path) -> None:
    drawn = draw_studies(2, 5)
    videos = {f"videos/{video.name}": (study, video) for study in drawn for video in study.videos}
    table = read_metadata(archive / "manifest.csv")
    assert table.fields == {"study", "patient", "view", "acquired_at"}
    assert table.types["ef_percent"] == "real"
    assert table.types["wall_motion"] == "text"
    assert table.types["pacemaker_lead"] == "integer"
    assert [row.path for row in table.rows] == list(videos)
    files = [archive / path for path in videos]
    told, warnings = table.match(files, [])
    assert warnings == []
    for file, (study, video) in zip(files, videos.values(), strict=True):
        assert (told[file].study, told[file].view) == (study.study_id, video.view)
        assert told[file].attributes["ef_percent"] == pytest.approx(video.truth.ef_percent, abs=1e-3)
        media = open_media(file)
        assert media.num_frames == video.num_frames
        assert media.fps == pytest.approx(video.fps, rel=0.01)
        assert next(iter(media.frames([3]))).shape == (video.height, video.width, 3)
    assert sorted(path.name for path in (archive / "videos").iterdir()) == sorted(file.name for file in files)
    with (archive / "FileList.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    apical = [video for _, video in videos.values() if video.view == "A4C"]
    assert [row["FileName"] for row in rows] == [video.video_id for video in apical]
    assert [float(row["EF"]) for row in rows] == pytest.approx([video.truth.ef_percent for video in apical], abs=1e-3)
    assert {row["Split"] for row in rows} <= {"TRAIN", "VAL", "TEST"}
    with (archive / "reports.csv").open(newline="") as lines:
        assert [row["report"] for row in csv.DictReader(lines)] == [report(study).text for study in drawn]


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_encoded_videos_are_the_rendered_ones(suffix: str, tmp_path: Path, by_view: dict[str, list[Video]]) -> None:
    video = replace(by_view["PLAX"][0], height=112, width=112, num_frames=9, suffix=suffix)
    (tmp_path / video.name).write_bytes(encode(video))
    assert encode(video) == encode(video)
    decoded = decode(tmp_path / video.name)
    assert decoded.shape == (9, 112, 112, 3)
    assert np.abs(decoded.astype(int) - render(video)).mean() < 6


def decode(file: Path) -> np.ndarray:
    import av

    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_two_workers_write_what_one_writes(archive: Path, tmp_path: Path) -> None:
    make_archive(tmp_path / "again", 2, 5, workers=2)
    for file in sorted(archive.rglob("*.*")):
        assert (tmp_path / "again" / file.relative_to(archive)).read_bytes() == file.read_bytes(), file


@pytest.mark.parametrize(
    ("studies", "seed", "message"),
    [(0, 1, "1 to 100000 studies"), (10**9, 1, "1 to 100000 studies"), (1, -1, "a seed is 0 to")],
)
def test_absurd_numbers_are_refused(studies: int, seed: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=message):
        make_archive(tmp_path / "new", studies, seed)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_rendered_is_refused(by_view: dict[str, list[Video]]) -> None:
    video = by_view["A4C"][0]
    with pytest.raises(BadOption, match=f"has frames 0 to {video.num_frames - 1}, not 1000"):
        render(video, [0, 1000])
    with pytest.raises(BadOption, match="16 to 4096 pixels a side, not 8x8"):
        render(video, [0], size=(8, 8))
    assert render(video, [], size=SIZE).shape == (0, *SIZE, 3)


def test_folders_that_cannot_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for folder, message in (("full", "is not empty"), ("file", "is not a folder"), ("no/new", "does not exist")):
        with pytest.raises(BadOption, match=message):
            make_archive(tmp_path / folder, 1, 1)
    with pytest.raises(BadOption, match="workers are 1 to 256"):
        make_archive(tmp_path / "new", 1, 1, workers=1000)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine.txt"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_stays_of_an_archive_that_failed(
    stop: BaseException | type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, data: bytes) -> None:
        path.touch()
        raise stop

    monkeypatch.setattr(Path, "write_bytes", fail)
    expected, message = (
        (KeyboardInterrupt, None) if stop is KeyboardInterrupt else (BackendError, "No space left on device")
    )
    with pytest.raises(expected, match=message):
        make_archive(tmp_path / "new", 1, 1, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs rights")
    try:
        with pytest.raises(BackendError, match=r"No space left on device$"):
            make_archive(disk / "new", 1, 1, workers=2)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=re.escape("pip install 'echosearch[phantom]'")):
        make_archive(tmp_path / "new", 1, 1)
    assert list(tmp_path.iterdir()) == []


def test_the_command(run: Run, tmp_path: Path) -> None:
    code, out, err = run("phantom", "make", tmp_path / "new", "--studies", 1, "--seed", 2, "--workers", 1)
    assert code == 0
    count = len(draw_studies(1, 2)[0].videos)
    assert f"{count} videos in 1 studies of 1 phantom patients" in out
    assert f"{count}/{count} videos" in err
    code, _, err = run("phantom", "make", tmp_path / "new", "--studies", 1)
    assert (code, "is not empty" in err) == (2, True)
