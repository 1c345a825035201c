import pytest

from fastroute.config import Config
from fastroute.proxy.settings import Settings


def test_settings():
    config = Config(
        servers=(),
        retry_on=("reset",),
        max_retries=2,
        client_idle_timeout=7.0,
        max_body_bytes=9,
        max_header_bytes=2048,
    )
    settings = Settings(config)
    assert settings.config is config
    assert settings.retry_on == {"reset"}
    assert (settings.max_retries, settings.client_idle_timeout) == (2, 7.0)
    assert (settings.max_body_bytes, settings.max_header_bytes) == (9, 2048)


@pytest.mark.parametrize(
    ("changed", "records", "traces"),
    [
        pytest.param({}, False, False, id="nothing"),
        pytest.param({"access_log": "text"}, True, True, id="access-log"),
        pytest.param({"otlp_endpoint": "http://c"}, True, True, id="spans"),
        pytest.param({"explain": True}, False, True, id="explain"),
    ],
)
def test_what_is_wanted_of_requests(changed, records, traces):
    settings = Settings(Config(servers=(), **changed))
    assert (settings.records, settings.traces) == (records, traces)
