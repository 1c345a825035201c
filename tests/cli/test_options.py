import pytest

from fastroute.cli.options import DEFAULT_MAX_LOAD, counted, servers_from
from fastroute.control.config_file import FixedConfig, WatchedConfig
from fastroute.errors import ConfigError

FILE = '[servers]\nservers = [ { url = "http://gpu-1:8000" } ]\n'
URLS = ["http://gpu-1:8000", "http://gpu-2:8000"]


@pytest.fixture(name="file")
def file_fixture(tmp_path, monkeypatch):
    """A folder to stand in, with a servers.toml."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "servers.toml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("max_load", "expected"), [pytest.param(None, DEFAULT_MAX_LOAD, id="default"), (7, 7)]
)
def test_servers_by_options(max_load, expected):
    source = servers_from(None, URLS, max_load)
    assert isinstance(source, FixedConfig)
    assert [server.url for server in source.config.servers] == URLS
    assert {server.max_concurrent_requests for server in source.config.servers} == {expected}


@pytest.mark.parametrize("is_named", [True, False])
def test_servers_from_a_file(file, is_named):
    source = servers_from(file if is_named else None, None)
    assert isinstance(source, WatchedConfig)
    assert [server.url for server in source.config.servers] == ["http://gpu-1:8000"]


@pytest.mark.parametrize(
    ("has_file", "urls", "max_load", "message"),
    [
        pytest.param(True, URLS, None, "exclude each other", id="both"),
        pytest.param(True, None, 4, "--max-load .*--server", id="load-of-a-file"),
        pytest.param(False, None, None, "no servers: servers.toml does not exist", id="neither"),
    ],
)
def test_refusals(file, has_file, urls, max_load, message):
    if not has_file:
        file.unlink()
    with pytest.raises(ConfigError, match=message):
        servers_from(file if has_file else None, urls, max_load)


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 servers"), (1, "1 server"), (2, "2 servers")]
)
def test_counted(number, expected):
    assert counted(number, "server") == expected
