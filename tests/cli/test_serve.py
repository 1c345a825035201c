import socket

import pytest

from fastroute.cli.serve import Place, serve
from fastroute.config import config_from_urls
from fastroute.control.config_file import FixedConfig
from fastroute.errors import ConfigError
from fastroute.ipc.logs import LogOptions

SOURCE = FixedConfig(config_from_urls(["http://gpu-1:8000"], 1), "test")


def test_refuses_a_port_in_use():
    """What goes well is tested with processes (tests/e2e)."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = Place(host="127.0.0.1", port=taken.getsockname()[1], workers=1)
        with pytest.raises(ConfigError, match="in use"):
            serve(SOURCE, place, LogOptions(), with_screen=False)
