"""The runner of PySyft's own tests counts right, and fails when fewer pass than must."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts import pysyft_conformance
from scripts.pysyft_conformance import Outcome, TestFile
from shared.errors import DataError, FedsmsError

REPORT = """<testsuites><testsuite>
<testcase name="test_a"/><testcase name="test_b"><skipped message="why"/></testcase>
<testcase name="test_c[1]"><failure message="assert 1 == 2&#10; more">...</failure></testcase>
<testcase name=""><error message="collection failure"/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_counted_and_each_failure_keeps_its_first_line(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT, encoding="utf-8")
    counts, problems = pysyft_conformance._read(report)
    assert counts == {"passed": 1, "failed": 2, "skipped": 1}
    assert problems == {"test_c[1]": "assert 1 == 2", "": "collection failure"}


def test_a_file_that_never_reported_passes_nothing(tmp_path: Path) -> None:
    counts, problems = pysyft_conformance._read(tmp_path / "none.xml")
    assert counts["passed"] == 0
    assert problems


def test_another_wheel_than_the_known_one_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "syft.whl"
    wheel.write_bytes(b"not it")
    with pytest.raises(DataError, match="not the wheel we know"):
        pysyft_conformance.find_wheel(wheel, {"sha256": "0" * 64})


@pytest.mark.parametrize("missing", [0, 1])
def test_fewer_passes_than_expected_end_the_run_with_an_error_and_each_red_test_has_its_reason(
    monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    def outcomes(files: list[TestFile], *_: object) -> list[Outcome]:
        return [
            Outcome(
                {"passed": file.expected - missing, "failed": len(file.red), "skipped": 0},
                dict.fromkeys(file.red, "an assertion"),
                1.0,
            )
            for file in files
        ]

    monkeypatch.setattr(pysyft_conformance, "find_wheel", lambda *_: Path())
    monkeypatch.setattr(pysyft_conformance, "unpack", lambda *_: None)
    monkeypatch.setattr(pysyft_conformance, "run_files", outcomes)
    result = CliRunner().invoke(pysyft_conformance.main, [])
    assert "not known before" not in result.output
    assert "compares two ways of averaging bit by bit" in result.output
    assert isinstance(result.exception, FedsmsError) == bool(missing)
