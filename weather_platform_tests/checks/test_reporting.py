"""What a check says of its findings; every warning says what follows from them."""

import ast
from pathlib import Path

import pytest

from weather_platform import checks
from weather_platform.checks.reporting import WARN, report

FILES = sorted(Path(checks.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_every_check_that_only_warns_says_what_its_warning_means(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "report":
            given = {word.arg: word.value for word in node.keywords}
            severity = given.get("severity")
            if isinstance(severity, ast.Name) and severity.id == "WARN":
                assert "meaning" in given, f"{file.name}, line {node.lineno}"


def test_a_description_names_five_findings_in_short_and_then_what_they_mean() -> None:
    findings = {str(year): "x, " * 200 for year in range(2001, 2009)}
    result = report(findings, severity=WARN, meaning="Look at the files.")
    said = result.description or ""
    assert said.count("x, x ...") == 5
    assert said.endswith(" and 3 more. Look at the files.")
    assert result.metadata["failing_partitions"].value == findings
    assert report({}, severity=WARN, meaning="Look at the files.").description is None
