"""What `inmf run` shows, on a terminal and off it, and what it says without doing anything."""

from __future__ import annotations

import re
from typing import Any

import pytest

ESCAPE = "\x1b"


def test_off_a_terminal_lines_are_plain_and_whole(without_pictures: Any, tmp_path: Any) -> None:
    deep = tmp_path.joinpath(*[f"a folder with a long name, number {number}" for number in range(7)])
    project = without_pictures.copy(deep)
    assert len(str(project.folder)) > 250
    (project.folder / "mixtures" / f"{'long' * 40}.wav").write_text("no")
    forced = {"FORCE_COLOR": "1", "COLUMNS": "40", "TERM": "xterm-256color"}
    done = project.run("--set", "separate.max_iter=2", code=1, env=forced)
    lines = done.out.splitlines() + done.err.splitlines()
    assert ESCAPE not in done.out + done.err
    assert "\r" not in done.out + done.err
    begins = r"separated: |mean SI-SDR: |note: |failed: |report: |done in |run voices: |dashboard |"
    begins += r"\w+ [\w/.]+: (done|FAILED)"
    assert [line for line in lines if not re.match(begins, line)] == []
    assert any(line.startswith(f"failed: separate {'long' * 40}: {project.folder}/mixtures/") for line in lines)


def test_on_a_terminal_every_stage_has_a_bar(project: Any, on_a_terminal: Any) -> None:
    (project.folder / "mixtures" / "bad.wav").write_text("no")
    folder = project.folder / "[red]x[" / "bold]"
    command = [*project.command("--scheduler", project.scheduler), "--output", str(folder)]
    code, shown = on_a_terminal(command)
    assert code == 1
    assert "Traceback" not in shown
    assert ESCAPE in shown
    assert "[red]x[/bold]" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    for stage, count in {"analyse": "4/4", "fit": "2/2", "separate": "4/4", "evaluate": "3/3", "report": "1/1"}.items():
        assert re.search(rf"{stage} +[━╸╺]+ {count}", plain), stage
    assert "separate bad failed: " in plain
    assert plain.rstrip().splitlines()[-1].startswith("done in ")


def test_on_a_terminal_a_run_with_nothing_to_do_draws_nothing(project: Any, on_a_terminal: Any) -> None:
    code, shown = on_a_terminal(project.command())
    assert code == 0
    assert shown.startswith("nothing to do: all 13 results are up to date")
    assert ESCAPE not in shown


def test_a_dry_run_before_the_first_writes_nothing(fresh: Any) -> None:
    before = fresh.stamps()
    done = fresh.run("--dry-run", "--why")
    assert fresh.stamps() == before
    assert not fresh.output.exists()
    assert done.err == ""
    lines = done.out.splitlines()
    assert lines[0] == "analyze: 4 of 4 to do"
    assert "  male/a: it has not been done yet" in lines
    assert "separate: 3 of 3 to do" in lines
    assert len([line for line in lines if line.startswith("  ")]) == 13


def test_a_dry_run_without_why_gives_counts_and_cost_alone(fresh: Any) -> None:
    lines = fresh.run("--dry-run", "--workers", 3).out.splitlines()
    assert lines[:5] == [
        "analyze: 4 of 4 to do",
        "fit: 2 of 2 to do",
        "separate: 3 of 3 to do",
        "evaluate: 3 of 3 to do",
        "report: 1 of 1 to do",
    ]
    analyze, fit, separate, store, whole = lines[5:]
    assert re.fullmatch(r"analyze: \d+ s of audio in 2 tasks, \S+ thousand points, about .* a worker", analyze)
    assert re.fullmatch(r"fit: \d+ s of audio in 2 tasks, \S+ thousand points, about .* a worker", fit)
    assert re.fullmatch(r"separate: \d+ s of audio in 1 task, about .* of one core, \d+ MB a worker", separate)
    assert re.fullmatch(r"points store: about \S+ .B in \d+ files", store)
    assert re.fullmatch(r"in all about \d+ s on 3 workers, by a trial of a few seconds of audio", whole)


@pytest.mark.full
def test_a_dry_run_after_a_change_says_the_reasons_and_touches_nothing(project: Any) -> None:
    (project.folder / "male" / "b.wav").unlink()
    (project.output / "separated/one/female.wav").unlink()
    before = project.stamps()
    done = project.run("--dry-run", "--why", "--set", "sources.female.components=5")
    assert project.stamps() == before
    lines = done.out.splitlines()
    assert lines[0] == "analyze: 0 of 3 to do"
    assert "  male: changed: points" in lines
    assert "  female: changed: settings" in lines
    assert "  one: changed: model of female, model of male" in lines
    done = project.run("--dry-run", "--why", "--set", "separate.mask=paper")
    assert "  two: changed: model of male, settings" in done.out


def test_a_dry_run_of_what_is_done_says_so(project: Any) -> None:
    before = project.stamps()
    done = project.run("--dry-run", "--why")
    assert done.out.splitlines()[0] == "nothing to do in runs/voices"
    assert all(" 0 of " in line for line in done.out.splitlines()[1:])
    assert project.stamps() == before


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--no-such-option"], ["--output"], ["extra"]])
def test_a_wrong_command_line(project: Any, arguments: list[str]) -> None:
    done = project.run(*arguments, code=2)
    assert done.out == ""
    assert "Error: " in done.err
    assert ESCAPE not in done.err
