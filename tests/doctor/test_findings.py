import pytest

from fastroute.doctor.findings import Severity, error, ok, unknown, verdict, warning

OK, UNKNOWN = ok("fine"), unknown("who knows")
WARNING, ERROR = warning("slow", "hurry"), error("broken", "mend")


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        pytest.param([], Severity.OK, id="nothing"),
        pytest.param(OK, Severity.OK, id="ok"),
        pytest.param(OK + UNKNOWN, Severity.OK, id="unknown-does-not-count"),
        pytest.param(WARNING + UNKNOWN + OK, Severity.WARNING, id="warning"),
        pytest.param(OK + ERROR + WARNING, Severity.ERROR, id="error"),
    ],
)
def test_the_verdict_is_the_highest_severity(findings, expected):
    assert verdict(findings) is expected


def test_words():
    assert [severity.word for severity in Severity] == ["ok", "unknown", "warning", "error"]
