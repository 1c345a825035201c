import pytest

from fastroute.config import (
    Config,
    ServerConfig,
    config_from_urls,
    load_config,
    parse_config,
)
from fastroute.errors import ConfigError
from fastroute.server_address import ServerAddress

ONE_SERVER = '[servers]\nservers = [ { url = "http://gpu-1:8000" } ]\n'


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "servers.toml")
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestParse:
    def test_the_form_of_the_issue(self):
        config = parse_config(
            """
            [servers]
            servers = [
                { url = "http://gpu-server-1:8081", max_concurrent_requests = 3 },
                { url = "https://gpu-server-2:8088", max_concurrent_requests = 5 },
            ]
            [config]
            health_check_interval = 11
            request_timeout = 0.5
            max_retries = 0
            """,
            "servers.toml",
        )
        assert [server.max_concurrent_requests for server in config.servers] == [3, 5]
        assert config.servers[1].address == ServerAddress(
            "gpu-server-2", 8088, True, "gpu-server-2:8088"
        )
        assert (config.health_check_interval, config.request_timeout) == (11.0, 0.5)
        assert type(config.health_check_interval) is float
        assert (config.max_retries, config.connect_timeout) == (0, 2.0)

    def test_settings_may_be_left_out(self):
        config = parse_config(ONE_SERVER, "servers.toml")
        assert config == Config(servers=(ServerConfig(url="http://gpu-1:8000"),))

    def test_every_key_of_the_older_tool(self):
        older = {
            "health_check_interval": 30,
            "config_reload_interval": 60,
            "request_timeout": 30,
            "health_check_timeout": 5,
            "max_retries": 3,
            "failure_threshold": 2,
            "auto_recovery_threshold": 60,
            "enable_active_health_check": False,
            "health_check_max_response_time": 10.0,
            "health_check_min_success_rate": 0.8,
            "health_check_window_size": 10,
            "health_check_consecutive_failures": 3,
        }
        lines = "\n".join(f"{key} = {str(value).lower()}" for key, value in older.items())
        config = parse_config(f"{ONE_SERVER}[config]\n{lines}\n", "servers.toml")
        assert {key: getattr(config, key) for key in older} == older

    def test_what_is_no_number(self):
        config = parse_config(
            """
            [servers]
            servers = [
                { url = "http://a", models = ["m", "l"], api_key = "k", weight = 2, drain = true },
            ]
            [config]
            policy = "power_of_two"
            retry_on = ["connect", "503"]
            aliases = { "gpt-4o" = "m", "gpt-4.1" = "m" }
            """,
            "servers.toml",
        )
        assert config.servers[0] == ServerConfig(
            url="http://a", models=("m", "l"), api_key="k", weight=2.0, drain=True
        )
        assert (config.policy, config.retry_on) == ("power_of_two", ("connect", "503"))
        assert config.aliases == {"gpt-4o": "m", "gpt-4.1": "m"}

    def test_a_key_of_the_environment(self, monkeypatch):
        monkeypatch.setenv("GPU_KEY", "secret-1")
        text = '[servers]\nservers = [ { url = "http://a", api_key_env = "GPU_KEY" } ]\n'
        assert parse_config(text, "servers.toml").servers[0].api_key == "secret-1"

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            pytest.param(
                'policy = "fastest"',
                'policy = "fastest": must be one of "load", "least_inflight",',
                id="policy",
            ),
            pytest.param(
                'retry_on = ["500"]',
                "retry_on = ['500']: must be a list of some of \"connect\",",
                id="retry-on",
            ),
            pytest.param("retry_on = [503]", "retry_on = [503]: must be a list", id="retry-int"),
            pytest.param('aliases = "m"', 'aliases = "m": must be a table such as', id="aliases"),
            pytest.param(
                'aliases = { "a" = "" }', "aliases = {'a': ''}: must be a table such as", id="alias"
            ),
            pytest.param(
                "enable_active_health_check = 1",
                "enable_active_health_check = 1: must be true or false",
                id="flag",
            ),
            pytest.param(
                "health_check_min_success_rate = 1.5",
                "health_check_min_success_rate = 1.5: must be a number from 0 to 1",
                id="share",
            ),
            pytest.param(
                "waiting_weight = -1",
                "waiting_weight = -1: must be a number of running requests from 0 to 100",
                id="weight",
            ),
            pytest.param(
                "scrape_interval = 0.01",
                "scrape_interval = 0.01: must be a number of seconds from 0.05 to 86400",
                id="too-often",
            ),
            pytest.param(
                "admin_port = 65536",
                "admin_port = 65536: must be a whole number from 0 to 65535",
                id="port",
            ),
            pytest.param(
                "max_retries = -1",
                "max_retries = -1: must be a whole number of attempts from 0 to 100",
                id="negative",
            ),
            pytest.param(
                "max_retries = 1.5",
                "max_retries = 1.5: must be a whole number of attempts from 0 to 100",
                id="fraction",
            ),
            pytest.param(
                "max_retries = true",
                "max_retries = true: must be a whole number of attempts from 0 to 100",
                id="bool-for-int",
            ),
            pytest.param(
                "connect_timeout = false",
                "connect_timeout = false: must be a number of seconds from 0.001 to 86400",
                id="bool-for-seconds",
            ),
            pytest.param(
                'connect_timeout = "2s"',
                'connect_timeout = "2s": must be a number of seconds from 0.001 to 86400',
                id="text",
            ),
            pytest.param(
                "connect_timeout = 0",
                "connect_timeout = 0: must be a number of seconds from 0.001 to 86400",
                id="zero",
            ),
            pytest.param(
                "drain_timeout = inf",
                "drain_timeout = inf: must be a number of seconds from 0 to 86400",
                id="inf",
            ),
            pytest.param(
                "drain_timeout = nan",
                "drain_timeout = nan: must be a number of seconds from 0 to 86400",
                id="nan",
            ),
            pytest.param(
                "max_header_bytes = 10",
                "max_header_bytes = 10: must be a whole number of bytes from 1024 to 16777216",
                id="too-small",
            ),
            pytest.param(
                'access_log = "xml"',
                'access_log = "xml": must be one of "off", "text", "json"',
                id="access-log",
            ),
            pytest.param(
                'access_log_file = ""',
                'access_log_file = "": must be the path of a file, or "-" for stdout',
                id="no-path",
            ),
            *(
                pytest.param(
                    f'otlp_endpoint = "{value}"',
                    f'otlp_endpoint = "{value}": must be an http:// or https:// URL without user '
                    'name and password, or ""',
                    id=f"otlp-{name}",
                )
                for name, value in (
                    ("no-scheme", "collector:4318"),
                    ("grpc", "grpc://collector:4317"),
                    ("password", "http://a:b@collector:4318"),
                    ("blank", "http://collector 1"),
                )
            ),
            pytest.param(
                "otlp_sample_ratio = 2",
                "otlp_sample_ratio = 2: must be a number from 0 to 1",
                id="ratio",
            ),
            pytest.param(
                "max_retry = 1", "unknown key max_retry: did you mean max_retries?", id="near"
            ),
            pytest.param(
                "Drain_Timeout = 1",
                "unknown key Drain_Timeout: did you mean drain_timeout?",
                id="case",
            ),
            pytest.param("qqqq = 1", "unknown key qqqq: known: policy, ", id="far"),
            pytest.param(
                "servers = []",
                "unknown key servers: known: policy, ",
                id="misplaced",
            ),
            pytest.param('"a\\nb" = 1', "unknown key a\\nb: known: ", id="break"),
        ],
    )
    def test_refuses_a_setting(self, line, expected):
        message = refusal(f"{ONE_SERVER}[config]\n{line}\n")
        assert message.startswith(f"servers.toml: [config] {expected}")

    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            pytest.param('{ url = "gpu" }', 'url = "gpu": must be http://host:port or', id="url"),
            pytest.param("{ url = 1 }", "url = 1: must be http://host:port or", id="url-type"),
            pytest.param("{ }", "url is missing: must be http://host:port or", id="no-url"),
            pytest.param(
                '{ url = "http://a", max_concurrent_request = 1 }',
                "unknown key max_concurrent_request: did you mean max_concurrent_requests?",
                id="near",
            ),
            pytest.param(
                '{ url = "http://a", max_concurrent_requests = 0 }',
                "max_concurrent_requests = 0: must be a whole number of requests from 1 to 1000000",
                id="no-capacity",
            ),
            pytest.param(
                '{ url = "HTTP://GPU-1:8000/" }', "url is already used by server 1", id="twice"
            ),
            pytest.param(
                '{ url = "http+dns://gpu-1:8000" }',
                "url is already used by server 1",
                id="name-twice",
            ),
            pytest.param(
                '{ url = "http+dns://10.0.0.1:8000" }',
                'url = "http+dns://10.0.0.1:8000": must be http+dns://name:port or',
                id="address-as-name",
            ),
            pytest.param(
                '{ url = "http://a", discovered_from = "b" }',
                "unknown key discovered_from: known: url, ",
                id="not-for-users",
            ),
            pytest.param(
                '{ url = "http://a", models = [] }',
                'models = []: must be a list of names such as [ "llama3.1:8b" ]',
                id="no-models",
            ),
            pytest.param(
                '{ url = "http://a", models = "m" }', 'models = "m": must be a list', id="model"
            ),
            pytest.param(
                '{ url = "http://a", weight = 0 }',
                "weight = 0: must be a number from 0.001 to 1000",
                id="weightless",
            ),
            pytest.param(
                '{ url = "http://a", drain = "no" }',
                'drain = "no": must be true or false',
                id="drain",
            ),
            pytest.param(
                '{ url = "http://a", api_key = "pass word" }',
                "api_key = ...: must be text of 1 to 8192 printable ASCII characters",
                id="key",
            ),
            pytest.param(
                '{ url = "http://a", api_key = "k\\r\\nX-Evil: 1" }',
                "api_key = ...: must be text of",
                id="key-break",
            ),
            pytest.param(
                '{ url = "http://a", api_key = "k", api_key_env = "K" }',
                "api_key and api_key_env exclude each other",
                id="two-keys",
            ),
            pytest.param(
                '{ url = "http://a", api_key_env = "FASTROUTE_NO_SUCH" }',
                'api_key_env = "FASTROUTE_NO_SUCH": there is no such environment variable',
                id="no-variable",
            ),
            pytest.param(
                '{ url = "http://a", api_key_env = "FASTROUTE_BAD_KEY" }',
                'api_key_env = "FASTROUTE_BAD_KEY": the value of the variable must be text of',
                id="bad-variable",
            ),
        ],
    )
    def test_refuses_a_server(self, entry, expected, monkeypatch):
        monkeypatch.setenv("FASTROUTE_BAD_KEY", "two words")
        message = refusal(f'[servers]\nservers = [ {{ url = "http://gpu-1:8000" }}, {entry} ]\n')
        assert message.startswith(f"servers.toml: server 2: {expected}")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("", "no servers: [servers] servers must be a list such as", id="empty"),
            pytest.param("[servers]\nservers = []", "no servers: ", id="empty-list"),
            pytest.param(
                '[servers]\nservers = "http://a"',
                '[servers] servers = "http://a": must be a list such as',
                id="not-a-list",
            ),
            pytest.param(
                '[servers]\nservers = ["http://a"]',
                "[servers] servers = ['http://a']: must be a list such as",
                id="list-of-urls",
            ),
            pytest.param(
                '[[servers]]\nurl = "http://a"',
                "servers must be a section, written [servers]",
                id="array-of-tables",
            ),
            pytest.param("[server]", "unknown section server: did you mean servers?", id="section"),
            pytest.param(
                "[servers]\nlist = []", "[servers] unknown key list: known: servers", id="key"
            ),
            pytest.param("[servers\n", "not valid TOML: ", id="toml"),
            pytest.param(
                "a = 1\nb = \n", "not valid TOML: Invalid value (at line 2, ", id="toml-line"
            ),
        ],
    )
    def test_refuses_a_file(self, text, expected):
        assert refusal(text).startswith(f"servers.toml: {expected}")

    def test_a_long_value_is_cut(self):
        message = refusal(f'{ONE_SERVER}[config]\nmax_retries = "{"x" * 5000}"\n')
        assert "xxx…" in message
        assert len(message) < 300


class TestLoad:
    def test_reads_a_file(self, tmp_path):
        path = tmp_path / "servers.toml"
        path.write_text(ONE_SERVER)
        assert load_config(path).servers[0].url == "http://gpu-1:8000"

    def test_takes_the_mark_some_editors_put_first(self, tmp_path):
        path = tmp_path / "servers.toml"
        path.write_text(ONE_SERVER, encoding="utf-8-sig")
        assert len(load_config(path).servers) == 1

    def test_a_missing_file(self, tmp_path):
        path = tmp_path / "servers.toml"
        with pytest.raises(ConfigError, match=rf"^{path}: cannot be read: No such file"):
            load_config(path)

    def test_a_directory(self, tmp_path):
        with pytest.raises(ConfigError, match=rf"^{tmp_path}: cannot be read: Is a directory"):
            load_config(tmp_path)

    def test_not_text(self, tmp_path):
        path = tmp_path / "servers.toml"
        path.write_bytes(b"# fine\n# caf\xe9\n")
        with pytest.raises(ConfigError, match=rf"^{path}: line 2 is not UTF-8 text$"):
            load_config(path)


class TestFromUrls:
    def test_servers_alike(self):
        config = config_from_urls(["http://a:1", "http://b:2"], 5)
        assert config == Config(
            servers=(
                ServerConfig(url="http://a:1", max_concurrent_requests=5),
                ServerConfig(url="http://b:2", max_concurrent_requests=5),
            )
        )

    @pytest.mark.parametrize(
        ("urls", "load", "expected"),
        [
            pytest.param(["a"], 1, '--server: server 1: url = "a": must be', id="url"),
            pytest.param(
                ["http://a", "http://a"],
                1,
                "--server: server 2: url is already used by server 1",
                id="twice",
            ),
            pytest.param(["http://a"], 0, "--max-load 0: must be a whole number", id="load"),
        ],
    )
    def test_refuses(self, urls, load, expected):
        with pytest.raises(ConfigError) as caught:
            config_from_urls(urls, load)
        assert str(caught.value).startswith(expected)
