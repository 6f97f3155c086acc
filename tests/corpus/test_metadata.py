"""What a manifest says of a recording goes on to what is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inmf_flow.corpus import Recording, describe_recording, metadata_columns, read_manifest, write_manifest
from inmf_flow.errors import ArgumentError

RECORDINGS = [
    Recording("a", "x/a.wav", metadata={"speaker": "Ada", "age": 36}),
    Recording("b", "x/b.wav", 1.0, 2.5, {"room": None, "speaker": "Bob"}),
    Recording("c", "x/c.wav"),
]


def test_a_document_has_all_that_is_known() -> None:
    document = describe_recording(RECORDINGS[1])
    assert json.loads(json.dumps(document)) == {
        "item": "b",
        "audio": "x/b.wav",
        "start": 1.0,
        "stop": 2.5,
        "metadata": {"room": None, "speaker": "Bob"},
    }


def test_columns_have_every_name_once_and_a_value_for_every_item() -> None:
    columns, rows = metadata_columns(RECORDINGS)
    assert columns == ("speaker", "age", "room")
    assert rows == {"a": ("Ada", 36, None), "b": ("Bob", None, None), "c": (None, None, None)}
    assert metadata_columns([]) == ((), {})


def test_columns_keep_off_names_that_the_table_has() -> None:
    metadata = {"value": 1, "metadata.value": 2, "item": 3, "who": 4}
    columns, rows = metadata_columns([Recording("a", "a.wav", metadata=metadata)], taken=("item", "value"))
    assert columns == ("metadata.metadata.value", "metadata.value", "metadata.item", "who")
    assert rows == {"a": (1, 2, 3, 4)}


@pytest.mark.parametrize("name", ["written.jsonl", "written.csv"])
def test_a_written_manifest_moves_with_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "one"
    recordings = [
        Recording("a", folder / "a.wav"),
        Recording("b", folder / "sub" / "ä, b.wav", 0.25, metadata={"who": "Ada\r\n"}),
    ]
    write_manifest(folder / name, recordings)
    assert read_manifest(folder / name) == recordings
    folder.rename(tmp_path / "two")
    moved = read_manifest(tmp_path / "two" / name)
    assert [recording.path for recording in moved] == [tmp_path / "two/a.wav", tmp_path / "two/sub/ä, b.wav"]
    assert moved[1].metadata == {"who": "Ada\r\n"}


def test_files_elsewhere_are_written_absolute(tmp_path: Path, speech: dict[str, Path]) -> None:
    write_manifest(tmp_path / "x.jsonl", [Recording("a", speech["mixture"])])
    assert read_manifest(tmp_path / "x.jsonl", allow_outside=True)[0].path == speech["mixture"]
    with pytest.raises(ValueError, match="is an absolute path"):
        read_manifest(tmp_path / "x.jsonl")


def test_csv_writes_values_as_json_does(tmp_path: Path) -> None:
    metadata = {"yes": True, "number": 0.5, "none": None, "text": "x"}
    write_manifest(tmp_path / "x.csv", [Recording("a", tmp_path / "a.wav", metadata=metadata)])
    assert (tmp_path / "x.csv").read_text() == ("item,audio,start,stop,yes,number,none,text\na,a.wav,,,true,0.5,,x\n")


def test_what_no_manifest_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="this is no name of a manifest"):
        write_manifest(tmp_path / "x.txt", RECORDINGS)
    with pytest.raises(ArgumentError, match="metadata has the name of a column"):
        write_manifest(tmp_path / "x.csv", [Recording("a", "a.wav", metadata={"Stop": 1})])
    assert not list(tmp_path.iterdir())
