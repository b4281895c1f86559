"""Evidently measures what the domain says it measures, draws a page, and speaks to nobody."""

import subprocess
import sys
import textwrap

import numpy as np

from weather_platform.domain.drift import Watch
from weather_platform.evidently_report import measure, page, static_files
from weather_platform.io_managers.reports import DriftReport
from weather_platform.lake.provenance import made_from
from weather_platform_tests.domain.drifting import LEARNED_THROUGH, SEED, in_month, judged, watched_rows
from weather_platform_tests.drift_reports import MONTH, measured_report


def test_the_distances_are_those_of_the_domain_to_the_bit_and_so_is_the_share() -> None:
    rows = watched_rows(8, kinds=(*("observation",) * 6, "prediction", "label"))
    rows.values[in_month(rows, MONTH), :3] += 5
    rows.values[::7, 1] = np.nan
    watch = Watch(rows, LEARNED_THROUGH, SEED)
    usual, sides = watch.usual(), watch.sides(MONTH)
    measured = measure(sides, usual.thresholds(sides))
    expected = judged(rows, MONTH)
    assert watch.judge(sides, usual, measured.distances) == expected
    assert measured.share == expected.share == 0.5
    failing = [test for test in measured.values["tests"] if test["status"] == "FAIL"]
    failed = {test["metric_config"]["params"].get("column") for test in failing}
    assert failed == {"column_0", "column_1", "column_2", None}, "None is the share"


def test_a_column_that_is_missing_all_month_is_left_out_of_the_page_and_named_on_it() -> None:
    rows = watched_rows(4)
    rows.values[in_month(rows, MONTH), 0] = np.nan
    watch = Watch(rows, LEARNED_THROUGH, SEED)
    usual, sides = watch.usual(), watch.sides(MONTH)
    measured = measure(sides, usual.thresholds(sides))
    assert sorted(measured.distances) == ["column_1", "column_2", "column_3"]
    assert b"Missing all month: column_0" in page(measured, watch.judge(sides, usual, measured.distances), "")


def test_the_page_is_small_and_finds_what_all_pages_share_beside_it() -> None:
    report, _ = measured_report()
    text = report.page.decode()
    assert len(text) < 300_000
    assert text.index("Drift of 2014-07") < text.index("column_0: ")
    assert "synthetic" not in text.partition("</ul>")[0]
    for name, data in static_files().items():
        assert f"../../static/{name}" in text
        assert len(data) > 50_000


def test_a_month_that_cannot_be_compared_has_a_page_that_says_why() -> None:
    rows = watched_rows(2)
    rows.values[in_month(rows, MONTH)] = np.nan
    watch = Watch(rows, LEARNED_THROUGH, SEED)
    usual, sides = watch.usual(), watch.sides(MONTH)
    measured = measure(sides, usual.thresholds(sides))
    said = page(measured, watch.judge(sides, usual, measured.distances), "").decode()
    assert measured.values == {}
    assert "unknown" in said
    assert "0 of 2 observed columns could be compared" in said


def test_the_page_of_generated_weather_says_so_in_its_headline() -> None:
    report, measured = measured_report()
    said = page(measured, report.verdict, made_from("synthetic")).decode()
    assert "(synthetic weather)" in said.partition("</h2>")[0]


def test_names_of_stations_cannot_change_the_page() -> None:
    report, measured = measured_report()
    strange = {"unseen_stations": ("<script>alert(1)</script>",)}
    said = page(measured, type(report.verdict)(**(vars(report.verdict) | strange)), "")
    assert b"&lt;script&gt;alert(1)&lt;/script&gt;" in said


def test_the_values_of_a_report_are_the_same_bits_when_it_is_made_again() -> None:
    first, again = (measured_report()[0] for _ in range(2))
    assert isinstance(first, DriftReport)
    assert first.document() == again.document()


def test_nothing_is_sent_to_the_network() -> None:
    program = """
        import socket
        def refuse(*arguments, **named):
            raise AssertionError(f"the network was asked for: {arguments[1:]}")
        for name in ("connect", "connect_ex", "sendto"):
            setattr(socket.socket, name, refuse)
        socket.getaddrinfo = refuse
        from weather_platform_tests.drift_reports import measured_report
        report, measured = measured_report()
        print(report.verdict.status)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.stdout == "drift\n", done.stderr
