import json
import urllib.error
import urllib.request

import pytest

from fastroute.control.demo_servers import demo_servers


def test_servers_answer_and_end_with_the_demo():
    with demo_servers(2) as urls:
        assert len(set(urls)) == 2
        for url in urls:
            with urllib.request.urlopen(f"{url}/v1/models", timeout=10) as reply:
                assert json.load(reply)["data"][0]["id"] == "standin"
    for url in urls:
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(url, timeout=10)
