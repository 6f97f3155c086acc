"""Manifests give the recordings they list, or one clear error with every fault and its line."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from inmf_flow.corpus import (
    Manifest,
    ManifestError,
    Recording,
    find_recordings,
    is_manifest,
    read_manifest,
    write_manifest,
)
from inmf_flow.errors import ConfigError

Write = Callable[..., Path]


@pytest.fixture(name="write")
def write_fixture(tmp_path: Path) -> Write:
    """Write a manifest from text, bytes, or objects that become lines of JSON."""

    def write(content: str | bytes | list[Any], name: str = "") -> Path:
        if isinstance(content, list):
            content = "".join(json.dumps(record) + "\n" for record in content)
            name = name or "list.jsonl"
        data = content.encode() if isinstance(content, str) else content
        path = tmp_path / (name or "list.csv")
        path.write_bytes(data)
        return path

    return write


def faults(path: Path, **options: Any) -> list[str]:
    """Return the faults of a manifest as LINE: WHAT."""
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)
    assert str(caught.value) == "\n".join(caught.value.problems)
    prefix = f"{path}:"
    for problem in caught.value.problems:
        assert problem.startswith(prefix)
        assert problem.isprintable()
    return [problem.removeprefix(prefix) for problem in caught.value.problems]


def test_json_lines_give_recordings_with_segments_and_typed_metadata(write: Write, tmp_path: Path) -> None:
    path = write(
        [
            {"audio": "a.wav", "speaker": "Ada", "age": 36, "native": True, "note": None, "snr": 12.5},
            {"audio": "sub/b.flac", "item": "Bob 1", "start": 1, "stop": 2.5},
        ]
    )
    assert read_manifest(path) == [
        Recording(
            "a",
            tmp_path / "a.wav",
            metadata={"speaker": "Ada", "age": 36, "native": True, "note": None, "snr": 12.5},
        ),
        Recording("Bob 1", tmp_path / "sub/b.flac", 1.0, 2.5),
    ]
    kinds = [type(value) for value in read_manifest(path)[0].metadata.values()]
    assert kinds == [str, int, bool, type(None), float]


def test_csv_gives_recordings_whose_metadata_is_text_as_written(write: Write, tmp_path: Path) -> None:
    path = write('audio,item,start,stop,speaker,note\na.wav,,,,007,"one, ""two""\nand three"\n\nb.wav,Bob,0.5,1e1,,\n')
    assert read_manifest(path) == [
        Recording("a", tmp_path / "a.wav", metadata={"speaker": "007", "note": 'one, "two"\nand three'}),
        Recording("Bob", tmp_path / "b.wav", 0.5, 10.0),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfaudio,who\r\na.wav,Ad\xc3\xa4\r\n",
        b"who , audio\n\n ,\nAd\xc3\xa4,a.wav",
    ],
)
def test_what_spreadsheets_write_is_read(write: Write, content: bytes) -> None:
    (recording,) = read_manifest(write(content))
    assert recording.path.name == "a.wav"
    assert recording.metadata == {"who": "Adä"}


def test_json_lines_may_have_a_byte_order_mark_and_empty_lines(write: Write) -> None:
    content = b'\xef\xbb\xbf\r\n{"audio": "a.wav"}\r\n\n{"audio": "b.wav"}'
    assert [recording.item for recording in read_manifest(write(content, "list.jsonl"))] == ["a", "b"]


def test_manifests_of_real_recordings_are_found_beside_patterns(write: Write, audio_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "speech").symlink_to(audio_dir / "speech")
    path = write([{"audio": "speech/mixture.flac"}, {"audio": "speech/mixture.flac", "start": 1, "stop": 2}])
    entries: list[Path | Manifest] = [Manifest(path, root=audio_dir), audio_dir / "music" / "mixture.flac"]
    recordings = find_recordings(entries, "corpus.mixtures")
    assert [recording.item for recording in recordings] == [
        "speech-mixture",
        "speech-mixture@00001000-00002000",
        "music-mixture",
    ]
    assert all(recording.path.is_file() for recording in recordings)


def test_patterns_find_manifests_by_their_suffix(write: Write, tmp_path: Path) -> None:
    write([{"audio": "a.wav"}], "1.jsonl")
    write("audio\nb.wav\n", "2.CSV")
    for name in ("c.wav", "notes.txt"):
        (tmp_path / name).touch()
    found = find_recordings([tmp_path / "1.jsonl", tmp_path / "*.CSV", tmp_path], "x")
    assert [recording.item for recording in found] == ["a", "b", "c"]
    assert not is_manifest("a.wav")
    assert is_manifest(Path("A.JSONL"))


def test_files_are_named_as_they_are_without_a_manifest(write: Write, tmp_path: Path) -> None:
    names = ["x/a.wav", "y/a.wav", "y/b.wav", "y/b.flac", "z/c[1].wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = find_recordings([write("audio\n" + "\n".join(names))], "x")
    globbed = find_recordings([tmp_path / "**/*"], "x")
    assert {r.path: r.item for r in listed} == {r.path: r.item for r in globbed}


def test_names_of_lines_do_not_depend_on_their_order(write: Write) -> None:
    lines = [{"audio": f"{folder}/{name}.wav"} for folder in "xyz" for name in ("a", "a-2", "x-a")]
    lines.append({"audio": "q.wav", "item": "A"})
    there = {r.path: r.item for r in read_manifest(write(lines))}
    back = {r.path: r.item for r in read_manifest(write(lines[::-1]))}
    assert there == back
    assert len({item.casefold() for item in there.values()}) == len(lines)


def test_given_names_are_made_safe_and_made_ones_keep_off_them(write: Write) -> None:
    path = write([{"audio": "x/a.wav"}, {"audio": "b.wav", "item": "A"}, {"audio": "c.wav", "item": "spk/1?"}])
    assert [recording.item for recording in read_manifest(path)] == ["x-a", "A", "spk_1_"]


def test_equal_lines_with_names_of_their_own_are_two_recordings(write: Write) -> None:
    path = write([{"audio": "a.wav", "item": "one"}, {"audio": "a.wav", "item": "two"}])
    assert [recording.item for recording in read_manifest(path)] == ["one", "two"]


JSON_FAULTS: list[tuple[Any, str]] = [
    ({"item": "x"}, "'audio' is missing"),
    ({"audio": None}, "'audio' is missing"),
    ({"audio": 7}, "audio is 7, expected"),
    ({"audio": " "}, "audio ' ' is empty"),
    ({"audio": "a\0.wav"}, "null byte"),
    ({"audio": "gs://bucket/a.wav"}, "is a URL"),
    ({"audio": "s3://bucket/a.wav"}, "is an object of a store and leads out of the root"),
    ({"audio": "file:///a.wav"}, "is a URL"),
    ({"audio": "C:\\a.wav"}, "drive letter"),
    ({"audio": "sub\\a.wav"}, "holds a backslash, expected '/'"),
    ({"audio": "\ud800.wav"}, "surrogate"),
    ({"audio": "a.wav", "item": 12}, "item is 12, expected a name as text"),
    ({"audio": "a.wav", "item": ""}, "item is ''"),
    ({"audio": "a.wav", "start": "soon"}, "start is not a number, got 'soon'"),
    ({"audio": "a.wav", "start": True}, "start is not a number, got true"),
    ({"audio": "a.wav", "stop": [1]}, "stop is not a number, got a list"),
    ({"audio": "a.wav", "start": -1}, "start is -1.0, expected seconds of at least 0"),
    ({"audio": "a.wav", "start": 2, "stop": 2}, "start 2.0 is not before stop 2.0"),
    ({"audio": "a.wav", "stop": 0}, "start 0.0 is not before stop 0.0"),
    ({"audio": "a.wav", "stop": 10**400}, "stop is inf"),
    ({"audio": "a.wav", "tags": ["x"]}, "'tags' is nested, got a list"),
    ({"audio": "a.wav", "who": {"name": "x"}}, "'who' is nested, got an object"),
    ({"audio": "a.wav", "who": "\udcff"}, "'who' holds half a surrogate pair"),
    ({"audio": "a.wav", "Start": 1}, "unknown column 'Start', did you mean 'start'?"),
    ({"audio": "a.wav", " ": 1}, "metadata has to have a name"),
    (["a.wav"], "the line is not a JSON object, got a list"),
    ("a.wav", "not a JSON object, got 'a.wav'"),
]


@pytest.mark.parametrize(("record", "what"), JSON_FAULTS)
def test_a_fault_names_its_line(write: Write, record: Any, what: str) -> None:
    (fault,) = faults(write([{"audio": "good.wav"}, record, {"audio": "more.wav"}]))
    assert fault.startswith("2: ")
    assert what in fault


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "the line is not JSON"),
        ('{"audio": "a.wav",}', "the line is not JSON"),
        ("audio,item", "the line is not JSON"),
        ('{"audio": "a.wav", "x": NaN}', "NaN is no JSON number"),
        ('{"audio": "a.wav", "x": 1e999}', "'x' is not a finite number"),
        ('{"audio": "a.wav", "audio": "b.wav"}', "the name 'audio' occurs twice"),
        ('{"audio": "a.wav", "x": %s}' % ("[" * 200_000), "nested too deep"),
        ('{"audio": "a.wav", "x": 1%s}' % ("0" * 5000), "not JSON that can be used"),
    ],
)
def test_a_line_that_is_no_json_names_its_line(write: Write, line: str, what: str) -> None:
    (fault,) = faults(write(f'{{"audio": "good.wav"}}\n{line}\n', "list.jsonl"))
    assert fault.startswith("2: ")
    assert what in fault
    assert len(fault) < 500


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "1: the file is empty"),
        ("\n\n", "1: the file is empty"),
        ("audio\n", "1: the manifest lists no recordings"),
        ("path,who\na.wav,x\n", "1: the header has no column 'audio', got 'path, who'"),
        ("audio;who\na.wav;x\n", "1: the header has no column 'audio', got 'audio;who': put commas"),
        ("audio,who,who\na.wav,x,y\n", "1: the header has the column 'who' twice"),
        ("audio,,who\na.wav,x,y\n", "1: column 2 of the header has no name"),
        ("audio,STOP\na.wav,2\n", "2: unknown column 'STOP', did you mean 'stop'?"),
        ("audio,who\na.wav\n", "2: the row has 1 cells, expected 2"),
        ("audio\na.wav,b.wav\n", "2: the row has 2 cells, expected 1"),
        ("audio,who\n,x\n", "2: 'audio' is missing"),
        ("audio,start\na.wav,1_0\n", "2: start is not a number, got '1_0'"),
        ("audio,start\na.wav,nan\n", "2: start is not a number, got 'nan'"),
        ('audio,start\na.wav,"1,5"\n', "2: start is not a number, got '1,5'"),
        ('audio\na.wav\n"b.wav\nc.wav\n', "3: the row is not CSV"),
        ('audio,who\na.wav,"x"y\n', "2: the row is not CSV"),
        ('audio,who\nb.wav,"two\nlines"\n,x\n', "4: 'audio' is missing"),
    ],
)
def test_a_fault_of_csv_names_its_line(write: Write, content: str, what: str) -> None:
    (fault,) = faults(write(content))
    assert fault.startswith(what)


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("audio\nbä.wav\n".encode("utf-16"), "1: the file is UTF-16"),
        ("audio\nbä.wav\n".encode("utf-16-le"), "1: the file is UTF-16 or binary"),
        (b"\x1f\x8b\x08\0\0\0", "1: the file is compressed"),
    ],
)
def test_other_encodings_are_named(write: Write, name: str, content: bytes, what: str) -> None:
    (fault,) = faults(write(content, name))
    assert fault.startswith(what)


def test_bytes_that_are_not_utf8_are_shown_where_they_are(write: Write) -> None:
    (fault,) = faults(write("audio,who\na.wav,Ada\nb.wav,Zoë\n".encode("latin-1")))
    assert fault == "3: the file is not UTF-8, got byte 0xeb at byte 9 of the line: save it as UTF-8"
    content = '{"audio": "ä.wav"}\n'.encode("latin-1") + b'{"audio": 1}\n'
    assert [fault[:2] for fault in faults(write(content, "list.jsonl"))] == ["1:", "2:"]


def test_huge_lines_are_refused_without_being_held(write: Write) -> None:
    content = b'{"audio": "a.wav"}\n{"audio": "' + b"x" * (8 << 20) + b'"}\n'
    path = write(content, "list.jsonl")
    tracemalloc.start()
    try:
        (fault,) = faults(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fault.startswith("2: the line is longer than")
    assert peak < 8 << 20


def test_a_quote_left_open_does_not_swallow_a_large_file(write: Write) -> None:
    (fault,) = faults(write('audio\na.wav\n"b.wav\n' + "c.wav\n" * 300_000))
    assert fault.startswith("3: the row is")


def test_all_faults_come_at_once_up_to_a_limit(write: Write) -> None:
    path = write([{"audio": 1, "item": 2, "start": "x"}, {"audio": "a.wav"}, {"audio": "b.wav", "stop": -1}])
    assert [fault.split(" is")[0] for fault in faults(path)] == ["1: audio", "1: item", "1: start", "3: stop"]
    with pytest.raises(ManifestError) as caught:
        read_manifest(write([{"audio": 1}] * 100_000))
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1].endswith("there may be more faults than these 20")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([{"audio": "a.wav", "item": "x"}, {"audio": "b.wav", "item": "X"}], "the item 'X' is there already"),
        ([{"audio": "a.wav", "item": "ß"}, {"audio": "b.wav", "item": "SS"}], "the item 'SS' is there already"),
        ([{"audio": "a.wav", "item": "a/b"}, {"audio": "b.wav", "item": "a?b"}], "the item 'a_b' is there already"),
        ([{"audio": "a.wav"}, {"audio": "./a.wav"}], "is listed already"),
        ([{"audio": "a.wav", "start": 1}, {"audio": "a.wav", "start": 1.0}], "@00001000-end is listed already"),
        (
            [{"audio": "a.wav", "stop": 1}, {"audio": "b.wav", "item": "A@00000000-00001000"}],
            "the item 'A@00000000-00001000' is there already",
        ),
    ],
)
def test_repetitions_name_both_lines(write: Write, lines: list[Any], expected: str) -> None:
    path = write([{"audio": "first.wav"}, *lines])
    (fault,) = faults(path)
    assert fault.startswith("3: ")
    assert expected in fault
    assert f"first in {path}:2" in fault


def test_manifests_with_one_name_between_them_are_told(write: Write) -> None:
    one, two = write([{"audio": "a.wav", "item": "x"}], "1.jsonl"), write([{"audio": "b.wav", "item": "x"}], "2.jsonl")
    with pytest.raises(ManifestError, match=r"2\.jsonl:1: the item 'x' is there already.*1\.jsonl:1"):
        find_recordings([one, two], "corpus.mixtures")


def test_faults_of_several_entries_can_be_gathered(write: Write, tmp_path: Path) -> None:
    gathered: list[ConfigError] = []
    entries = [tmp_path / "*.wav", write([{"audio": 1}]), tmp_path / "there.wav", tmp_path / "no.csv"]
    found = find_recordings(entries, "corpus.mixtures", faults=gathered)
    assert [recording.item for recording in found] == ["there"]
    assert [error.what.split(": ")[-1] for error in gathered] == [
        "no audio file matches",
        "audio is 1, expected the path of an audio file as text",
        "there is no such manifest",
    ]
    with pytest.raises(ConfigError, match=r"^corpus\.mixtures: no audio file matches"):
        find_recordings(entries, "corpus.mixtures")


def test_a_manifest_that_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name, what in {
        "none.jsonl": "there is no such manifest",
        "none/none.jsonl": "there is no such manifest",
        "null\0.csv": "there is no such manifest",
        "x" * 300 + ".csv": "cannot be read",
        "folder.csv": "has to be a file",
        "pipe.csv": "has to be a file",
        "list.txt": "this is not a manifest",
    }.items():
        with pytest.raises(ConfigError, match=what):
            read_manifest(tmp_path / name)


def test_the_error_survives_pickling(write: Write) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(write([{"audio": 1}, {"audio": 2}]))
    error = pickle.loads(pickle.dumps(caught.value))
    assert (type(error), str(error), error.problems) == (ManifestError, str(caught.value), caught.value.problems)


@pytest.mark.full
def test_a_hundred_thousand_lines_are_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    count = 100_000
    with path.open("w") as stream:
        for number in range(count):
            speaker = f"speaker-{number // 100:04d}"
            stream.write(f'{{"audio": "{speaker}/{number:06d}.flac", "speaker": "{speaker}", "split": "train"}}\n')
    begin = time.process_time()
    recordings = read_manifest(path)
    seconds = time.process_time() - begin
    assert len(recordings) == count
    assert recordings[-1].metadata == {"speaker": "speaker-0999", "split": "train"}
    # 2 s where nothing else runs; what is guarded against is time that grows faster than the lines.
    assert seconds < 20
    # The head alone, since tracing makes it ten times slower. Below 1 GB for a million, all on the way included.
    head = _head(path, 10_000)
    tracemalloc.start()
    try:
        kept = read_manifest(head)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / len(kept) < 500
    assert peak / len(kept) < 900


def _head(path: Path, count: int) -> Path:
    short = path.with_name("short.jsonl")
    with path.open() as lines, short.open("w") as stream:
        stream.writelines(line for line, _ in zip(lines, range(count), strict=False))
    return short


def test_many_files_of_one_name_are_numbered_in_time_that_grows_with_their_number(write: Write) -> None:
    path = write("audio\n" + "".join(f"{number}/take/mixture.wav\n" for number in range(30_000)))
    begin = time.process_time()
    items = [recording.item for recording in read_manifest(path)]
    assert len(set(items)) == 30_000
    assert time.process_time() - begin < 15


_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(["a.wav", "../a.wav", "/a.wav", "x/a.wav", "A.wav", "1", "-1", "2.5", "s3://x/y", "\udcff.wav"]),
)
_NAME = st.one_of(st.sampled_from(["audio", "item", "start", "stop", "who", "Audio", ""]), st.text(max_size=4))
_RECORDS = st.lists(st.dictionaries(_NAME, _VALUE, max_size=5), max_size=5)


def _as_csv(records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    names = list(dict.fromkeys(name for record in records for name in record))
    writer.writerow(names)
    writer.writerows([record.get(name) for name in names] for record in records)
    return text.getvalue().encode("utf-8", "surrogatepass")


_COMMON = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


def _read(path: Path) -> None:
    """Read a manifest that may hold anything: records that are safe, or a clear error."""
    try:
        recordings = read_manifest(path)
    except ConfigError as error:
        lines = str(error).split("\n")
        assert all(line.isprintable() and len(line) < 700 for line in lines), lines
        assert all(line.startswith(f"{path}:") for line in lines)
        return
    assert len({recording.item.casefold() for recording in recordings}) == len(recordings) > 0
    for recording in recordings:
        assert recording.item == recording.item.strip(" .")
        assert not set(recording.item) & set("/\\\0\n")
        assert os.path.realpath(recording.path).startswith(os.path.realpath(path.parent))
        json.dumps(recording.metadata, allow_nan=False)


@_COMMON
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass"))))
@example(b'audio,who\n"a.wav\r",x\n')
@example(b"audio\r\ra.wav")
@example(b"audio,who\na.wav,\0\n")
@example(b"audio\n..\n.\n")
def test_any_bytes_give_recordings_or_a_clear_error(tmp_path: Path, content: bytes) -> None:
    for name, data in (("x.csv", content), ("x.csv", b"audio,start,who\n" + content), ("x.jsonl", content)):
        (tmp_path / name).write_bytes(data)
        _read(tmp_path / name)


@_COMMON
@given(_RECORDS)
def test_any_records_give_recordings_or_a_clear_error(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    lines = "\n".join(json.dumps(record) for record in records)
    (tmp_path / "x.jsonl").write_text(lines, encoding="ascii")
    (tmp_path / "x.csv").write_bytes(_as_csv(records))
    _read(tmp_path / "x.jsonl")
    _read(tmp_path / "x.csv")


_TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
_SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), _TEXT)
_KEYS = _TEXT.filter(lambda n: n.strip() and n.strip().casefold() not in ("audio", "item", "start", "stop"))
_LIMITS = st.lists(st.floats(0, 1e6), min_size=2, max_size=2, unique=True).map(sorted)


@_COMMON
@given(st.lists(st.tuples(_LIMITS, st.dictionaries(_KEYS, _SCALAR, max_size=3)), min_size=1, max_size=4))
def test_recordings_written_as_json_lines_are_read_back(
    tmp_path: Path, given: list[tuple[list[float], dict[str, Any]]]
) -> None:
    recordings = [
        Recording(f"r{number}", tmp_path / "sub" / f"{number} ä.wav", start, stop, metadata)
        for number, ((start, stop), metadata) in enumerate(given)
    ]
    write_manifest(tmp_path / "written.jsonl", recordings)
    assert read_manifest(tmp_path / "written.jsonl") == recordings
    assert [r.metadata for r in read_manifest(tmp_path / "written.jsonl")] == [r.metadata for r in recordings]
