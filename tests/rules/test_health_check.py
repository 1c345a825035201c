import pytest

from fastroute.rules.health_check import DEFAULT_PATH, FALLBACK_PATH, HealthCheck


@pytest.mark.parametrize(
    ("statuses", "status", "expected"),
    [
        pytest.param((), 200, True, id="200"),
        pytest.param((), 204, True, id="no-content"),
        pytest.param((), 301, False, id="redirect"),
        pytest.param((), 503, False, id="unavailable"),
        pytest.param((401,), 401, True, id="named"),
        pytest.param((401,), 200, False, id="not-named"),
    ],
)
def test_accepts(statuses, status, expected):
    assert HealthCheck(statuses=statuses).accepts(status) is expected


@pytest.mark.parametrize(
    ("check", "path", "status", "expected"),
    [
        pytest.param(HealthCheck(), DEFAULT_PATH, 404, FALLBACK_PATH, id="not-found"),
        pytest.param(HealthCheck(), DEFAULT_PATH, 405, FALLBACK_PATH, id="no-such-method"),
        pytest.param(HealthCheck(), DEFAULT_PATH, 501, FALLBACK_PATH, id="not-implemented"),
        pytest.param(HealthCheck(), DEFAULT_PATH, 500, None, id="it-has-the-path"),
        pytest.param(HealthCheck(), DEFAULT_PATH, 401, None, id="a-key-is-missing"),
        pytest.param(HealthCheck(), FALLBACK_PATH, 404, None, id="neither"),
        pytest.param(HealthCheck("/ping"), "/ping", 404, None, id="set-by-the-operator"),
        pytest.param(HealthCheck(statuses=(404,)), DEFAULT_PATH, 404, None, id="404-is-good"),
    ],
)
def test_path_after(check, path, status, expected):
    assert check.path_after(path, status) == expected


@pytest.mark.parametrize(
    ("statuses", "wanted"), [((), "2xx"), ((200,), "200"), ((200, 204), "200 or 204")]
)
def test_the_complaint_names_the_settings(statuses, wanted):
    complaint = HealthCheck("/ping", statuses).complaint("/ping", 403)
    assert complaint.startswith(f"/ping returned 403, not {wanted}; ")
    assert "health_path or health_statuses" in complaint
