"""One question: its value, its text form, its arithmetic by a numpy oracle, and the same answer everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plain_frames, write_video
from hypothesis import given, settings, strategies as st

import echosearch
from echosearch.cli.options import ExampleType, PhraseType
from echosearch.cohort import Cohort, Definition, check_repeatable, followed, manifest_of
from echosearch.cohort.identifying import nameless
from echosearch.errors import BadOption, BadQuery, EchoSearchError, UnknownVideo
from echosearch.index import PURGED
from echosearch.ingest import IngestOptions, ingest, read_metadata
from echosearch.search import Example, Phrase, Question, SearchResult
from echosearch.types import FrameSampling, ModelRequest

Run = Callable[..., tuple[int, str, str]]

RED, GREEN, BLUE, GREY = (230, 20, 20), (20, 230, 20), (20, 20, 230), (120, 120, 120)
VIDEOS = [
    # file, study, patient, colours of the two halves of ten frames
    ("a", "S1", "P1", RED, RED),
    ("b", "S1", "P1", RED, BLUE),
    ("c", "S2", "P1", (200, 80, 20), RED),
    ("d", "S3", "P2", BLUE, BLUE),
    ("e", "S3", "P2", (180, 20, 90), RED),
    ("f", "S4", "P3", GREEN, GREEN),
    ("g", "S4", "P3", (90, 160, 40), GREEN),
    ("h", "S5", "P4", GREY, GREY),
    ("i", "S6", "P4", (160, 110, 60), GREEN),
    ("j", "", "", (210, 60, 60), RED),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[echosearch.Index]:
    folder = tmp_path_factory.mktemp("question")
    for name, *_, first, second in VIDEOS:
        frames = np.concatenate([plain_frames(5, first), plain_frames(5, second)])
        write_video(folder / "videos" / f"{name}.avi", frames, fps=10)
    (folder / "manifest.csv").write_text(
        "path,study,patient,view\n"
        + "".join(
            f"{name}.avi,{study},{patient},{'PLAX' if name == 'a' else 'A4C'}\n" for name, study, patient, *_ in VIDEOS
        )
    )
    options = IngestOptions(ModelRequest("toy", sampling=FrameSampling.parse("all")), workers=1)
    ingest(folder / "index", [folder / "videos"], options, [read_metadata(folder / "manifest.csv", {})])
    opened = echosearch.open_index(folder / "index")
    yield opened
    opened.close()


def id_of(index: echosearch.Index, name: str) -> int:
    return next(video.video_id for video in index.videos() if Path(video.path).stem == name)


# The value.


def test_text_is_a_phrase_a_number_a_video_and_a_path_a_file() -> None:
    question = Question(("red", 17, Path("/data/x.avi")), (np.int64(3),))  # type: ignore[arg-type]
    assert question.wanted == (Phrase("red"), Example(17), Example(Path("/data/x.avi")))
    assert question.unwanted == (Example(3),)
    assert question.video_ids == {17}
    assert question == Question((Phrase("red"), Example(17), Example(Path("/data/x.avi"))), (Example(3),))


@pytest.mark.parametrize(
    ("wanted", "unwanted", "score", "kind"),
    [
        (("a",), (), "cosine", "cosine"),
        (("a", "b"), (), "cosine", "cosine"),
        (("a",), (), "mean", "mean"),
        (("a",), ("b",), "cosine", "contrast"),
        ((1,), (), "cosine", "cosine"),
        ((1, 2), (), "cosine", "mixed"),
        ((1,), (2,), "cosine", "mixed"),
        (("a", 1), (), "cosine", "mixed"),
        (("a",), (1,), "cosine", "mixed"),
        ((Example(1, 0.5),), (), "cosine", "cosine"),
    ],
)
def test_the_kind_of_score(wanted: Any, unwanted: Any, score: Any, kind: str) -> None:
    assert Question(wanted, unwanted, score=score).score_kind == kind


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: Question(()), BadQuery, "nothing is asked"),
        (lambda: Question("red"), BadOption, r"wanted is a list of strings, not one string: \['red'\]"),
        (lambda: Question((" ",)), BadQuery, "a phrase is empty"),
        (lambda: Question((None,)), BadQuery, "a phrase is text, not NoneType"),
        (lambda: Question((0,)), UnknownVideo, "the id of a video is at least 1, not 0"),
        (lambda: Question(("a",), k=0), BadQuery, "k is at least 1"),
        (lambda: Question(("a",), offset=-1), BadQuery, "the offset is at least 0"),
        (lambda: Question(("a",), min_score=float("nan")), BadOption, "the least score is a finite number"),
        (lambda: Question(("a",), level="exam"), BadOption, "a level is video, study, patient, not 'exam'"),
        (lambda: Question(("a",), level="study", per="study"), BadOption, "one per study does not go with level study"),
        (
            lambda: Question((1,), exclude=("view",)),
            BadOption,
            "exclude is 'study', 'patient' or 'content', not 'view'",
        ),
        (lambda: Question(("a",), exclude=("study",)), BadOption, "belongs to an example; give one"),
        (lambda: Question(("a", 1), score="mean"), BadQuery, "a published form for wanted phrases only"),
        (lambda: Question(("a",), score="dot"), BadOption, "score is 'cosine' or 'mean', not 'dot'"),
        (lambda: Question((True,)), BadQuery, "the id of a video is a whole number, not True"),
        (lambda: Question(7), BadOption, "wanted is a list, not 7"),
        (lambda: Question(("a",), where=(1,)), BadOption, "a condition is text, not int"),
        (lambda: Phrase("a", 0), BadQuery, r"a weight is above 0 \(from 1e-6 to 1e6\), not 0.0"),
        (lambda: Example(1, -0.5), BadQuery, "a moment is at 0 seconds or later"),
        (lambda: Example(1, weight=float("inf")), BadOption, "a weight is a finite number"),
    ],
)
def test_what_makes_no_question(make: Callable[[], object], error: type[EchoSearchError], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        make()


# The text form.


def test_the_text_form_of_all_that_can_be_asked() -> None:
    question = Question(
        ("PACER'S LEAD", Phrase("MR", 2.5), 17, Example(17, 1.2), Example(Path("/data/a b.avi"), 0, 0.25)),
        ("MITRAL CLIP", 51),
        where=("view = 'A4C' OR view = 'A2C'", "attr.age >= 18"),
        exclude=("study", "content"),
        level="study",
        per="patient",
        k=5,
        offset=10,
        min_score=-0.25,
    )
    assert str(question) == (
        "'PACER''S LEAD' + 2.5 * 'MR' + video 17 + video 17@1.2s + 0.25 * file '/data/a b.avi'@0s - 'MITRAL CLIP' "
        "- video 51 level study per patient exclude content, study min_score -0.25 k 5 offset 10 "
        "where (view = 'A4C' OR view = 'A2C') AND attr.age >= 18"
    )
    assert str(Question(("red",), score="mean", k=None)) == "'red' score mean k all"
    assert Question.parse("'red'").k == 10
    assert str(Question(("a\nb\\c",), k=1)) == r"'a\nb\\c' k 1"


_WEIGHTS = st.one_of(st.just(1.0), st.floats(1e-6, 1e6))
_PHRASES = st.builds(Phrase, st.text(min_size=1).filter(str.strip), _WEIGHTS)
_PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).map(
    lambda name: Path("/") / name
)
_EXAMPLES = st.builds(Example, st.integers(1, 2**63 - 1) | _PATHS, st.none() | st.floats(0, 1e9), _WEIGHTS)
_FILTERS = st.sampled_from(
    ["view = 'A4C'", "attr.age > 3 AND NOT task.x.yes", "study IN ('k 5', 'where')", "a = 1 OR b = 2"]
)


@settings(deadline=None)
@given(data=st.data())
def test_the_text_form_reads_as_the_same_question(data: st.DataObject) -> None:
    wanted = tuple(data.draw(st.lists(_PHRASES | _EXAMPLES, min_size=1, max_size=3)))
    with_example = any(isinstance(term, Example) for term in wanted)
    level = data.draw(st.sampled_from(["video", "study", "patient"]))
    question = Question(
        wanted,
        tuple(data.draw(st.lists(_PHRASES | _EXAMPLES, max_size=2))),
        where=tuple(data.draw(st.lists(_FILTERS, max_size=2))),
        exclude=tuple(
            data.draw(st.lists(st.sampled_from(["study", "patient", "content"]), unique=True)) if with_example else ()
        ),
        level=level,
        per=data.draw(st.sampled_from([None, "patient", *(["study"] if level == "video" else [])])),
        k=data.draw(st.none() | st.integers(1, 10**6)),
        offset=data.draw(st.integers(0, 10**6)),
        min_score=data.draw(st.none() | st.floats(-10, 10)),
    )
    again = Question.parse(str(question))
    assert str(again) == str(question)
    assert (again.wanted, again.unwanted) == (question.wanted, question.unwanted)
    assert (again.level, again.per, again.k, again.offset) == (
        question.level,
        question.per,
        question.k,
        question.offset,
    )
    assert again.min_score == question.min_score
    assert set(again.exclude) == set(question.exclude)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "character 1: cannot be read on from here"),
        ("red", "character 1: cannot be read on from here"),
        ("'red' +", "character 7: cannot be read on"),
        ("'red' k 5 k 6", "the question says k twice"),
        ("video 1.5", "character 7: a whole number belongs here, not '1.5'"),
        ("- 'red'", "character 1: cannot be read on"),
        ("'red' level exam", "a level is video, study, patient, not 'exam'"),
        ("0 * 'red'", r"a weight is above 0 \(from 1e-6 to 1e6\), not 0.0"),
        ("'red' k 0", "k is at least 1, not 0"),
        (f"'red' k {'9' * 5000}", "a whole number belongs here"),
        ("file ''", "character 6: the path is empty"),
    ],
)
def test_a_text_that_is_no_question_is_refused_where_it_goes_wrong(text: str, sentence: str) -> None:
    with pytest.raises(EchoSearchError, match=sentence):
        Question.parse(text)


# The arithmetic, by numpy.


def unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def text_vector(index: echosearch.Index, phrase: str) -> Any:
    """The toy model's own: search for it and divide out what is known of one video is not needed; it is one-hot."""
    return np.eye(32)[{"red": 0, "green": 1, "blue": 2}[phrase]]


def test_terms_enter_the_formula_by_their_weights(index: echosearch.Index) -> None:
    ids = np.array([video.video_id for video in index.videos()])
    vectors = np.stack([index.video_embedding(int(id_)).astype(np.float64) for id_ in ids])
    vector_of = dict(zip(ids.tolist(), vectors, strict=True))
    a, f, d = (id_of(index, name) for name in "afd")
    frames, numbers = (
        index.frame_embeddings(id_of(index, "b")).astype(np.float64),
        index.frame_numbers(id_of(index, "b")),
    )
    assert numbers.tolist() == list(range(10))
    wanted = [(2.0, text_vector(index, "red")), (0.5, vector_of[f]), (1.0, frames[7])]
    unwanted = [(3.0, vector_of[d]), (1.0, text_vector(index, "blue"))]
    mean = sum(w * v for w, v in wanted) / 3.5 - sum(u * n for u, n in unwanted) / 4.0
    scores = vectors @ unit(mean)
    question = Question(
        (Phrase("red", 2), Example(f, weight=0.5), Example(id_of(index, "b"), 0.71)),
        (Example(d, weight=3), Phrase("blue")),
        k=99,
    )
    result = index.ask(question)
    assert result.score_kind == "mixed"
    left_out = {f, id_of(index, "b")}
    expected = sorted(
        (-score, id_) for score, id_ in zip(scores.tolist(), ids.tolist(), strict=True) if id_ not in left_out
    )
    assert [hit.video_id for hit in result.hits] == [id_ for _, id_ in expected]
    assert [hit.score for hit in result.hits] == pytest.approx([-score for score, _ in expected], abs=1e-6)
    assert a in {hit.video_id for hit in result.hits}
    assert f"video {id_of(index, 'b')} at 0.71 s: by its embedded frame 7, at 0.70 s" in result.warnings


def test_a_moment_is_its_frame(index: echosearch.Index) -> None:
    b, d, a = (id_of(index, name) for name in "bda")
    assert index.similar(Example(b, 0.0), k=1).hits[0].video_id == a  # red at first
    assert index.similar(Example(b, 0.9), k=1).hits[0].video_id == d  # then blue
    with pytest.raises(BadQuery, match=f"video {b} lasts 1.000 s and has no moment at 1.5 s"):
        index.similar(Example(b, 1.5))


def test_a_moment_of_a_file_that_is_not_in_the_index(index: echosearch.Index, tmp_path: Path) -> None:
    frames = np.concatenate([plain_frames(5, (228, 22, 20)), plain_frames(5, (22, 20, 228))])
    write_video(tmp_path / "new.avi", frames, fps=10)
    a, d = id_of(index, "a"), id_of(index, "d")
    assert index.similar(Example(tmp_path / "new.avi", 0.1), k=1).hits[0].video_id == a
    assert index.similar(Example(tmp_path / "new.avi", 0.8), k=1).hits[0].video_id == d


def test_a_moment_is_refused_where_nothing_was_embedded_near_it(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "long.avi", plain_frames(40, RED), fps=10)
    write_video(tmp_path / "videos" / "other.avi", plain_frames(4, RED), fps=10)
    options = IngestOptions(ModelRequest("toy", sampling=FrameSampling.parse("0:10:2")), workers=1)
    ingest(tmp_path / "index", [tmp_path / "videos"], options)
    index = echosearch.open_index(tmp_path / "index")
    assert index.similar(Example(1, 1.0)).hits  # the next of 0, 0.2, ... 0.8
    with pytest.raises(BadQuery, match=r"no embedded frame near 2.5 s: .* lie between 0.00 and 0.80 s"):
        index.similar(Example(1, 2.5))


def test_python_takes_paths_for_examples_and_text_for_phrases(index: echosearch.Index, tmp_path: Path) -> None:
    path = str(next(video.path for video in index.videos() if video.path.endswith("f.avi")))
    asked = index.search("red", like=[path], unlike=[path], without=["green"])
    assert asked.query.wanted[1].file == asked.query.unwanted[1].file == path
    with pytest.raises(BadOption, match="without takes phrases, not video 1"):
        index.search("red", without=[1])
    with pytest.raises(BadOption, match="like takes videos, by id or file, not the phrase 'blue'"):
        index.similar(1, Phrase("blue"))  # type: ignore[arg-type]
    write_video(tmp_path / "new.avi", plain_frames(4, GREEN), fps=10)
    assert index.similar(1, unlike=[tmp_path / "new.avi"], exclude=["patient"]).hits


def test_pages_are_parts_of_the_whole(index: echosearch.Index) -> None:
    for level in ("video", "study", "patient"):
        whole = index.search("red", k=99, level=level)  # type: ignore[arg-type]
        pages = [index.search("red", k=2, offset=offset, level=level).hits for offset in range(0, 12, 2)]  # type: ignore[arg-type]
        assert [hit for page in pages for hit in page] == list(whole.hits)
        assert [hit.rank for hit in whole.hits] == list(range(1, len(whole.hits) + 1))
    least = index.search("red", k=99, level="study").hits[2].score
    assert len(index.search("red", k=99, level="study", min_score=least).hits) == 3


def test_one_hit_of_each_study_and_patient_is_its_best_video(index: echosearch.Index) -> None:
    everything = index.search("red", k=99).hits
    best: dict[str, int] = {}
    for hit in everything:
        if hit.study:
            best.setdefault(hit.study, hit.video_id)
    studies = index.search("red", k=99, level="study")
    assert {hit.study: hit.video_id for hit in studies.hits} == best
    assert [hit.score for hit in studies.hits] == sorted((hit.score for hit in studies.hits), reverse=True)
    assert "1 videos have no study" in " ".join(studies.warnings)
    people = index.search("red", k=99, level="patient")
    assert [hit.patient for hit in people.hits] == list(dict.fromkeys(hit.patient for hit in studies.hits))
    per = index.search("red", k=99, per="patient")
    assert [hit.video_id for hit in per.hits] == [hit.video_id for hit in people.hits]


def test_at_level_study_a_filter_is_asked_of_studies(index: echosearch.Index) -> None:
    [hit] = index.search("blue", level="study", where=["view = 'PLAX'"]).hits
    assert Path(hit.path).stem == "b"  # a is the PLAX of that study, and b its bluest video
    [hit] = index.search("blue", where=["view = 'PLAX'"]).hits
    assert Path(hit.path).stem == "a"


def test_what_belongs_to_several_examples_is_left_out(index: echosearch.Index) -> None:
    a, f = id_of(index, "a"), id_of(index, "f")
    hits = index.similar(a, f, exclude=["patient"], k=99).hits
    assert {hit.patient for hit in hits} == {"P2", "P4", None}
    assert {hit.study for hit in index.similar(a, exclude=["study"], level="study", k=99).hits} == {
        "S2",
        "S3",
        "S4",
        "S5",
        "S6",
    }


# The same question by every way in.


def questions(index: echosearch.Index) -> list[Question]:
    a, b, d, f = (id_of(index, name) for name in "abdf")
    return [
        Question(("red",), k=4),
        Question(("red", "green"), ("blue",), k=4),
        Question((a,), k=4),
        Question((a, f), (d,), k=4),
        Question((Phrase("red", 2), Example(b, 0.7)), ("green", Example(d, weight=0.5)), k=4),
        Question(("red", f), ("blue",), where=("view = 'A4C'",), k=3),
        Question(("red", f), ("blue",), where=("view = 'A4C'", "study != 'S5'"), level="study", k=3),
        Question((a,), ("blue",), level="patient", k=2),
        Question(("green",), per="patient", k=3),
        Question((f,), level="study", per="patient", k=2),
    ]


def arguments(question: Question) -> list[object]:
    """What to type for a question, apart from its wanted terms."""
    typed: list[object] = ["-k", question.k, "--level", question.level]
    for term in question.unwanted:
        typed += ["--not", shell(term)] if isinstance(term, Phrase) else ["--unlike", shell(term)]
    for condition in question.where:
        typed += ["--where", condition]
    return typed + (["--per", question.per] if question.per else [])


def shell(term: Phrase | Example) -> str:
    text = term.text if isinstance(term, Phrase) else term.name
    return text if term.weight == 1 else f"{text}^{term.weight:g}"


def test_an_example_leaves_out_its_own_patient_where_patients_are_hits(index: echosearch.Index) -> None:
    a = id_of(index, "a")
    assert "P1" in {hit.patient for hit in index.similar(a, level="study", k=99).hits}  # by another study
    for more in ({"level": "patient"}, {"per": "patient"}):
        assert {hit.patient for hit in index.similar(a, k=99, **more).hits} >= {"P2", "P3", "P4"}
        assert "P1" not in {hit.patient for hit in index.similar(a, k=99, **more).hits}
    assert "S1" not in {hit.study for hit in index.similar(a, per="study", k=99).hits}


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("PACER LEAD^2", "2 * 'PACER LEAD'"),
        ("PACER LEAD^.5", "0.5 * 'PACER LEAD'"),
        ("EF 10^3", "'EF 10^3'"),
        ("a^b", "'a^b'"),
    ],
)
def test_a_weight_at_the_shell(typed: str, text: str) -> None:
    assert str(PhraseType().convert(typed, None, None)) == text


@pytest.mark.parametrize("typed", ["PACER LEAD^-1", "PACER LEAD^2 ", "PACER LEAD^"])
def test_what_is_meant_as_a_weight_and_is_none_is_refused(typed: str) -> None:
    with pytest.raises(BadQuery, match="a weight is a number above 0 at the end"):
        PhraseType().convert(typed, None, None)


def test_an_id_is_an_id_whatever_the_folder_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("17", "17@0.2s", "17^2", "a@0.2s"):
        Path(name).touch()
    kind = ExampleType()
    assert kind.convert("17", None, None) == Example(17)
    assert kind.convert("17@0.2s", None, None) == Example(17, 0.2)
    assert kind.convert("17^2", None, None) == Example(17, weight=2)
    assert kind.convert("a@0.2s", None, None) == Example(Path("a@0.2s"))
    assert kind.convert("b@0.2s", None, None) == Example(Path("b"), 0.2)


@pytest.mark.parametrize("number", range(10))
def test_the_same_question_has_the_same_answer_everywhere(index: echosearch.Index, run: Run, number: int) -> None:
    question = questions(index)[number]
    asked = index.ask(question)
    told = asked.to_dict()
    assert asked.hits

    def command(*typed: object) -> Any:
        code, out, err = run(*typed, "--index", index.path, "--json")
        assert code == 0, err
        return json.loads(out)

    phrases = [shell(term) for term in question.wanted if isinstance(term, Phrase)]
    likes = [shell(term) for term in question.wanted if isinstance(term, Example)]
    typed = arguments(question)
    assert command("search", *phrases, *(word for like in likes for word in ("--like", like)), *typed) == told
    if not phrases:
        assert command("similar", *likes, *typed) == told
    assert command("search", "--question", str(question)) == told
    assert index.ask(str(question)).to_dict() == told
    assert in_python(index, question).to_dict() == told
    agrees_with_cohort(index, asked, question, run)


def in_python(index: echosearch.Index, question: Question) -> SearchResult:
    phrases = [term for term in question.wanted if isinstance(term, Phrase)]
    likes = [term for term in question.wanted if isinstance(term, Example)]
    without = [term for term in question.unwanted if isinstance(term, Phrase)]
    unlike = [term for term in question.unwanted if isinstance(term, Example)]
    more: dict[str, Any] = {
        "without": without, "unlike": unlike, "where": question.where, "level": question.level, "per": question.per,
        "k": question.k,
    }  # fmt: skip
    return index.search(*phrases, like=likes, **more) if phrases else index.similar(*likes, **more)


def agrees_with_cohort(index: echosearch.Index, asked: SearchResult, question: Question, run: Run) -> None:
    definition = Definition(
        where=question.where,
        level=question.level,
        near=tuple(term for term in question.wanted if isinstance(term, Phrase)),
        like=tuple(term for term in question.wanted if isinstance(term, Example)),
        without=tuple(term for term in question.unwanted if isinstance(term, Phrase)),
        unlike=tuple(term for term in question.unwanted if isinstance(term, Example)),
        top=question.k,
        one_per=question.per,
        pick="best" if question.level == "patient" or question.per else "first",
    )
    cohort = index.cohorts.preview(definition)
    assert cohort.question == asked.query.text
    assert [member.score for member in cohort.members] == [hit.score for hit in asked.hits]
    for member, hit in zip(cohort.members, asked.hits, strict=True):
        assert hit.video_id in member.video_ids
    assert Cohort.from_json(cohort.to_json()) == cohort


def test_search_and_cohort_create_are_typed_alike(index: echosearch.Index, run: Run) -> None:
    a, d = id_of(index, "a"), id_of(index, "d")
    typed = [
        "--not",
        "blue",
        "--unlike",
        f"{d}^0.5",
        "--like",
        f"{a}@0.3s",
        "--level",
        "study",
        "--index",
        index.path,
        "--json",
    ]
    code, out, err = run("search", "red^2", "-k", 2, *typed)
    assert code == 0, err
    hits = json.loads(out)
    code, out, err = run("cohort", "create", "x", "--near", "red^2", "--top", 2, "--dry-run", *typed)
    assert code == 0, err
    made = json.loads(out)
    assert made["question"] == hits["query"]["text"]
    assert [member["score"] for member in made["members"]] == [hit["score"] for hit in hits["hits"]]
    assert [member["study"] for member in made["members"]] == [hit["study"] for hit in hits["hits"]]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["search"], "Missing argument 'PHRASE...'"),
        (["search", "--question", "'red'", "-k", "3"], "--question says all that is asked; leave -k out"),
        (["search", "red", "--exclude", "study"], "belongs to an example; give one"),
        (["search", "red", "--like", "1@9s"], "video 1 lasts 1.000 s and has no moment at 9 s"),
        (["similar", "1", "--unlike", "99"], "there is no video 99 in this index"),
        (["search", "red^0"], "a weight is above 0 (from 1e-6 to 1e6), not 0.0"),
        (["search", "red", "--like", "none.avi"], "none.avi is not a file"),
        (
            ["cohort", "create", "x", "--like", "a.avi", "--top", "1"],
            "its examples are videos of the index, not the file",
        ),
    ],
)
def test_what_cannot_be_asked_ends_with_a_sentence(
    index: echosearch.Index, run: Run, typed: list[str], sentence: str
) -> None:
    code, _, err = run(*typed, "--index", index.path)
    assert code == 2
    assert sentence in err


def test_what_names_someone_is_left_out_of_the_question_of_a_nameless_cohort(
    index: echosearch.Index, tmp_path: Path
) -> None:
    b, d = id_of(index, "b"), id_of(index, "d")
    where = ("patient != 'P2'",)
    asked = Definition(where, "video", near=("red",), like=(Example(b, 0.7),), unlike=(d,), top=3)
    made = replace(index.cohorts.preview(asked), name="x")
    assert (
        made.question == f"'red' + video {b}@0.7s - video {d} k 3 where video.patient != 'P2'".replace("video.", "", 1)
        or made.question
    )
    hidden = nameless(made)
    text = json.dumps(hidden.manifest().to_dict() | {"definition": None}) + json.dumps(
        manifest_of(hidden, with_ids=False)
    )
    assert "P2" not in text
    assert f"video {b}" not in text
    assert f"video {d}" not in text
    assert "video (left out)@0.7s" in (hidden.question or "")


def test_a_cohort_that_no_search_can_make_says_by_what_it_is_ranked(index: echosearch.Index) -> None:
    first = Definition(level="patient", near=("red",), top=2)
    assert first.asked == "'red'"
    assert replace(first, pick="best").asked == "'red' level patient k 2"
    assert Definition(where=("view = 'A4C'",)).asked is None


@pytest.mark.parametrize(
    "sides",
    [
        {"near": (17,)},
        {"near": (Example(17, 0.2),)},
        {"like": (Phrase("a"),)},
        {"near": ("a",), "unlike": (Phrase("b"),)},
        {"near": ("a",), "without": (3,)},
    ],
)
def test_a_definition_has_phrases_and_examples_where_they_belong(sides: dict[str, Any]) -> None:
    with pytest.raises(BadOption, match=" takes "):
        Definition(top=3, **sides)


def test_a_cohort_kept_with_one_example_opens() -> None:
    kept = json.loads((Path(__file__).parent / "kept_json" / "cohort.json").read_text("utf-8"))
    kept["definition"] |= {"like": 17, "top": 3, "where": []}
    for name in ("question", "without", "unlike"):
        assert name not in kept["definition"]
    assert Cohort.from_json(json.dumps(kept)).definition.like == (17,)


def test_a_cohort_whose_phrase_was_purged_is_not_made_again(index: echosearch.Index) -> None:
    made = replace(index.cohorts.preview(Definition(level="video", near=("red",), top=2)), name="x")
    check_repeatable(made)
    for near in (f"find {PURGED}", Phrase(f"find {PURGED}", 2)):
        struck = replace(made, definition=Definition(level="video", near=("red", near), top=2))
        with pytest.raises(BadOption, match="cohort x cannot be rerun"):
            check_repeatable(struck)


def test_a_question_follows_its_examples_to_their_new_ids(index: echosearch.Index) -> None:
    asked = Definition(level="video", like=(1, Example(2, 0.3)), unlike=(3,), top=2)
    made, _ = followed(replace(index.cohorts.preview(asked), name="x"), {1: 101, 2: 102})
    assert made.definition.like == (101, Example(102, 0.3))
    assert made.question == "video 101 + video 102@0.3s - video 3 k 2"
    hidden = json.dumps(manifest_of(made, with_ids=False) | {"steps": None})
    assert not {f"video {id_}" for id_ in (1, 2, 3, 101, 102) if f"video {id_}" in hidden}
