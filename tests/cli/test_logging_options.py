import pytest

from fastroute.cli.logging_options import fills_stdout, overrides
from fastroute.config import AccessLogForm, Config
from fastroute.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, ("text", "a.log"), id="none"),
        pytest.param({"access_log": None, "access_log_file": None}, ("text", "a.log"), id="unset"),
        pytest.param({"access_log": AccessLogForm.JSON}, ("json", "a.log"), id="form"),
        pytest.param(
            {"access_log": AccessLogForm.OFF, "access_log_file": "-"}, ("off", "-"), id="both"
        ),
    ],
)
def test_the_command_line_has_precedence(options, expected):
    config = Config(servers=(), access_log="text", access_log_file="a.log", policy="random")
    changed = overrides(**options)(config)
    assert (changed.access_log, changed.access_log_file) == expected
    assert type(changed.access_log) is str
    assert changed.policy == "random"


def test_invalid_settings():
    with pytest.raises(ConfigError) as caught:
        overrides(access_log_file="")
    assert str(caught.value) == (
        '--access-log-file "": must be the path of a file, or "-" for stdout'
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, False, id="off"),
        pytest.param({"access_log": "text"}, True, id="stdout"),
        pytest.param({"access_log": "json", "access_log_file": "a.log"}, False, id="file"),
    ],
)
def test_fills_stdout(settings, expected):
    assert fills_stdout(Config(servers=(), **settings)) is expected
