import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.errors import ArgumentError
from inmf_flow.evaluate import (
    MetricRow,
    read_metrics,
    read_metrics_csv,
    summarize,
    summarize_oracles,
    write_metrics,
    write_metrics_csv,
)

NAN = float("nan")
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NUMBERS = st.floats() | st.just(NAN)


def same(one: MetricRow, other: MetricRow) -> bool:
    numbers = ("value", "baseline", "improvement")
    return (one.item, one.source, one.metric) == (other.item, other.source, other.metric) and all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in numbers
    )


@given(rows=st.lists(st.builds(MetricRow, NAMES, NAMES, NAMES, NUMBERS, NUMBERS, NUMBERS), max_size=5))
def test_what_is_written_is_read_back_exactly(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "metrics.csv"
    write_metrics_csv(path, rows)
    back = read_metrics_csv(path)
    assert len(back) == len(rows)
    assert all(same(one, other) for one, other in zip(back, rows, strict=True))


def test_the_file_is_plain_csv_with_empty_cells_for_nan(tmp_path):
    path = tmp_path / "deep" / "metrics.csv"
    rows = [
        MetricRow("a, b", "x", "si_sdr", 1.5, NAN, NAN),
        MetricRow("caf\udce9", "x", "sdr", np.float64(2), 1.0, 1.0, "ratio"),
    ]
    write_metrics_csv(path, rows)
    assert path.read_bytes() == (
        b"item,source,metric,value,baseline,improvement,oracle,estimate\n"
        b'"a, b",x,si_sdr,1.5,,,,\ncaf\xe9,x,sdr,2.0,1.0,1.0,ratio,\n'
    )
    assert read_metrics_csv(path)[1] == rows[1]
    assert [p.name for p in path.parent.iterdir()] == ["metrics.csv"]


def test_no_rows_give_a_table_with_only_its_head(tmp_path):
    write_metrics_csv(tmp_path / "m.csv", [])
    assert read_metrics_csv(tmp_path / "m.csv") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "columns are missing; got an empty file"),
        ("item,source\na,b\n", "columns are missing; got item, source"),
        ("item,source,metric,value,baseline,improvement\na,b,c,1\n", "m.csv:2: a row is too short"),
        ("item,source,metric,value,baseline,improvement\na,b,c,1,x,2\n", "m.csv:2: a cell is not a number"),
        ('item,source,metric,value,baseline,improvement\n"a,b,c,1,x,2\n', "not a table of metrics"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "m.csv"
    path.write_text(content)
    with pytest.raises(ArgumentError, match=message):
        read_metrics_csv(path)


def test_a_missing_table_is_one_clear_error(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be read; got No such file"):
        read_metrics_csv(tmp_path / "none.csv")


def test_summaries_are_by_source_and_over_all():
    rows = [
        MetricRow("1", "a", "si_sdr", 1.0, 0.0, 1.0),
        MetricRow("2", "a", "si_sdr", 4.0, 1.0, 3.0),
        MetricRow("3", "a", "si_sdr", NAN, 1.0, NAN),
        MetricRow("1", "b", "si_sdr", 10.0, NAN, NAN),
        MetricRow("1", "b", "stoi", NAN, NAN, NAN),
    ]
    found = {(entry["source"], entry["metric"]): entry for entry in summarize(rows)}
    assert list(found) == [
        ("a", "si_sdr"),
        ("b", "si_sdr"),
        ("b", "stoi"),
        ("all", "si_sdr"),
        ("all", "stoi"),
    ]
    assert {key: value for key, value in found["a", "si_sdr"].items() if not key.endswith(("low", "high"))} == {
        "source": "a",
        "metric": "si_sdr",
        "n": 2,
        "items": 2,
        "mean": 2.5,
        "median": 2.5,
        "q25": 1.75,
        "q75": 3.25,
        "mean_improvement": 2.0,
    }
    assert found["all", "si_sdr"]["n"] == 3
    assert found["all", "si_sdr"]["mean"] == 5.0
    assert math.isnan(found["b", "si_sdr"]["mean_improvement"])
    assert found["b", "stoi"]["n"] == 0
    assert math.isnan(found["b", "stoi"]["median"])


def test_no_rows_have_no_summary_and_infinite_scores_no_warning():
    assert summarize([]) == []
    rows = [MetricRow(str(i), "a", "x", v, NAN, v) for i, v in enumerate([math.inf, 1.0, -math.inf])]
    assert summarize(rows)[0]["n"] == 3


def test_parquet_has_the_same_columns_and_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow.parquet")
    rows = [
        MetricRow("one", "a", "sdr", 1.5, NAN, NAN, "", "b"),
        MetricRow("one", "a", "sdr", math.inf, 1.0, math.inf, "ratio"),
    ]
    for name in ("m.parquet", "m.csv"):
        write_metrics(tmp_path / name, iter(rows))
        back = read_metrics(tmp_path / name)
        assert len(back) == 2
        assert all(same(one, other) for one, other in zip(back, rows, strict=True))
        assert [(row.oracle, row.estimate) for row in back] == [("", "b"), ("ratio", "")]
    table = pyarrow.read_table(tmp_path / "m.parquet")
    head = (tmp_path / "m.csv").read_text().splitlines()[0]
    assert ",".join(table.column_names) == head
    assert table.column("baseline").null_count == 1
    (tmp_path / "bad.parquet").write_text("no parquet")
    with pytest.raises(ArgumentError, match="not a table of metrics"):
        read_metrics(tmp_path / "bad.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ArgumentError, match=r"pip install 'inmf-flow\[parquet\]'"):
        write_metrics(tmp_path / "m.parquet", [])
    with pytest.raises(ArgumentError, match=r"no such form of table; got \.xlsx"):
        write_metrics(tmp_path / "m.xlsx", [])


def test_tables_of_earlier_versions_are_read(tmp_path):
    (tmp_path / "m.csv").write_text("item,source,metric,value,baseline,improvement\none,a,sdr,3,1,2\n")
    assert read_metrics_csv(tmp_path / "m.csv") == [MetricRow("one", "a", "sdr", 3.0, 1.0, 2.0)]


def test_upper_bounds_are_summarised_apart():
    rows = [MetricRow(str(i), "a", "sdr", v, 0.0, v, o) for i in range(3) for o, v in (("", 1.0), ("ratio", 9.0))]
    assert [entry["mean"] for entry in summarize(rows)] == [1.0, 1.0]
    bounds = summarize_oracles(rows)
    assert [(entry["oracle"], entry["source"], entry["mean"]) for entry in bounds] == [
        ("ratio", "a", 9.0),
        ("ratio", "all", 9.0),
    ]
