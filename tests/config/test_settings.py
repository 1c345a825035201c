"""The settings: those that servers.example.toml shows, and those that come from the rules."""

import re
import tomllib
from pathlib import Path

import pytest

from fastroute.config import (
    Config,
    ServerConfig,
    config_from_urls,
    load_config,
    parse_config,
    setting_docs,
)
from fastroute.rules.policy import POLICIES
from fastroute.rules.retry import RETRY_REASONS

EXAMPLE = Path(__file__).parents[2] / "servers.example.toml"


def test_policies_and_retry_reasons_are_those_of_the_rules():
    docs = setting_docs(Config)
    for name, known in (("policy", POLICIES), ("retry_on", RETRY_REASONS)):
        assert docs[name].allowed.endswith(", ".join(f'"{word}"' for word in known))


class TestExample:
    def test_shows_every_setting_with_its_default(self):
        shown = tomllib.loads(EXAMPLE.read_text())["config"]
        config = load_config(EXAMPLE)
        defaults = config_from_urls(["http://a"], 8)
        assert list(shown) == list(setting_docs(Config))
        for name in shown:
            assert getattr(config, name) == getattr(defaults, name), name

    @pytest.mark.parametrize("struct", [Config, ServerConfig])
    def test_explains_every_setting_as_the_code_does(self, struct):
        text = re.sub(r"\s*\n\s*#\s*", " ", EXAMPLE.read_text()).lower()
        for doc in setting_docs(struct).values():
            assert doc.description.lower() in text, doc.name
            assert doc.description.endswith(".")
            if doc.unit in ("seconds", "bytes"):
                assert f"{doc.description} {doc.unit}.".lower() in text, doc.name

    def test_a_server_as_long_as_the_field_default(self):
        text = EXAMPLE.read_text().lower()
        server = ServerConfig(url="http://a")
        assert "default: 8." in text
        assert server.max_concurrent_requests == 8
        assert "default: 1." in text
        assert server.weight == 1
        assert "default: false." in text
        assert server.drain is False

    def test_the_servers_in_comments_can_be_used(self, monkeypatch):
        monkeypatch.setenv("GPU_3_KEY", "k")
        text = EXAMPLE.read_text().replace("# { url", "{ url")
        assert parse_config(text, "servers.toml").servers[2:] == (
            ServerConfig(
                url="http://gpu-server-3:8000", api_key="k", api_key_env="GPU_3_KEY", weight=2.0
            ),
            ServerConfig(url="http://gpu-server-4:8000", models=("llama3.1:8b",), drain=True),
            ServerConfig(url="http+dns://vllm-headless:8000", max_concurrent_requests=16),
        )
