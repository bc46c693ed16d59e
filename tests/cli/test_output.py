"""Tables as a person reads them, at the width of the console."""

from __future__ import annotations

import pytest

from runner.cli import output


@pytest.mark.parametrize("width", [80, 120, 160])
def test_words_of_a_table_do_not_break_where_they_fit(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "PRINTED_WIDTH", width)
    row = ["20261201-004427-96ddaf", "rebuild tickets, summary", "2026-12-01T00:44:27Z", 12, "many words " * 9]
    output.print_table("", ["job", "what", "started", "n", "error"], [row], numeric=frozenset({"n"}))
    shown = capsys.readouterr().out
    for word in ("20261201-004427-96ddaf", "2026-12-01T00:44:27Z", "rebuild", "summary", "started"):
        assert word in shown
    assert shown.split().count("words") == 9
    assert all(len(line) <= width for line in shown.splitlines())


def test_a_table_that_does_not_fit_breaks_the_longest_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "PRINTED_WIDTH", 40)
    output.print_table("", ["short", "long"], [["word", "x" * 90]])
    shown = capsys.readouterr().out
    assert "word" in shown
    assert shown.count("x") == 90
    assert all(len(line) <= 40 for line in shown.splitlines())
