import asyncio
import logging
import os

import msgspec
import pytest

from fastroute.config import config_from_urls, parse_config
from fastroute.control.config_file import FixedConfig, WatchedConfig, describe_changes
from fastroute.errors import ConfigError
from tests.support.standins import until


def text_of(*urls: str, retries: int = 3) -> str:
    servers = ", ".join(f'{{ url = "{url}" }}' for url in urls)
    return f"[servers]\nservers = [ {servers} ]\n[config]\nmax_retries = {retries}\n"


@pytest.fixture(name="path")
def path_fixture(tmp_path):
    path = tmp_path / "servers.toml"
    path.write_text(text_of("http://a"))
    return path


@pytest.fixture(name="watched")
def watched_fixture(path):
    return WatchedConfig(path)


def make_old(path) -> None:
    """Make it appear old, so that its modification time is trusted."""
    os.utime(path, (1_000_000_000, 1_000_000_000))


def errors(caplog) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.ERROR]


class TestFirstLook:
    def test_is_in_force(self, watched, path):
        assert watched.config.servers[0].url == "http://a"
        state = watched.state
        assert (state.source, state.error, state.reloads) == (str(path), None, 0)
        assert len(state.sha256) == 64
        assert state.loaded_at > 1e9

    @pytest.mark.parametrize("content", [None, "", "]"], ids=["missing", "empty", "broken"])
    def test_must_be_good(self, content, tmp_path):
        path = tmp_path / "servers.toml"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match=str(path)):
            WatchedConfig(path)


class TestOverride:
    async def test_goes_before_the_file_now_and_later(self, path):
        def override(config):
            return msgspec.structs.replace(config, access_log="text")

        watched = WatchedConfig(path, override)
        assert watched.config.access_log == "text"
        path.write_text(text_of("http://b") + 'access_log = "json"\n')
        assert await watched.check()
        assert (watched.config.access_log, watched.config.servers[0].url) == ("text", "http://b")


class TestLook:
    async def test_nothing_happened(self, watched):
        before = watched.state
        assert not await watched.check()
        assert watched.state is before

    async def test_a_change(self, watched, path):
        before = watched.state
        path.write_text(text_of("http://a", "http://b"))
        assert await watched.check()
        assert [server.url for server in watched.config.servers] == ["http://a", "http://b"]
        assert watched.state.reloads == 1
        assert watched.state.sha256 != before.sha256
        assert not await watched.check()

    async def test_a_change_of_the_same_length_at_the_same_time(self, watched, path):
        """A file system's clock may be coarse, so the time of a recent file proves nothing."""
        found = os.stat(path)
        path.write_text(text_of("http://b"))
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert await watched.check()
        assert watched.config.servers[0].url == "http://b"

    async def test_an_old_file_is_not_read_again(self, watched, path):
        make_old(path)
        await watched.check()
        path.write_text(text_of("http://b"))  # With the same length.
        make_old(path)
        assert not await watched.check()

    async def test_touched(self, watched, path):
        make_old(path)
        assert not await watched.check()
        path.touch()
        assert not await watched.check()
        assert watched.state.reloads == 0

    async def test_replaced_by_rename(self, watched, path):
        make_old(path)
        await watched.check()
        new = path.with_suffix(".new")
        new.write_text(text_of("http://b"))
        make_old(new)  # Even the time is the same.
        new.rename(path)
        assert await watched.check()
        assert watched.config.servers[0].url == "http://b"

    async def test_a_link_turned_elsewhere(self, tmp_path):
        """Config maps of Kubernetes change like this."""
        for name in ("a", "b"):
            (tmp_path / name).write_text(text_of(f"http://{name}"))
            make_old(tmp_path / name)
        link = tmp_path / "servers.toml"
        link.symlink_to("a")
        watched = WatchedConfig(link)
        link.unlink()
        link.symlink_to("b")
        assert await watched.check()
        assert watched.config.servers[0].url == "http://b"


class TestBadFile:
    async def test_changes_nothing_and_is_said_once(self, watched, path, caplog):
        before = watched.state
        path.write_text("[servers\n")
        assert await watched.check()
        assert watched.config.servers[0].url == "http://a"
        state = watched.state
        assert state.error.startswith(f"{path}: not valid TOML: ")
        assert (state.failures, state.reloads, state.sha256) == (1, 0, before.sha256)
        path.touch()
        assert not await watched.check()
        assert errors(caplog) == [f"{state.error}; the current configuration stays active"]

    @pytest.mark.parametrize("content", ["", text_of("http://a")[:-20]], ids=["empty", "half"])
    async def test_caught_half_written(self, content, watched, path):
        path.write_text(content)
        await watched.check()
        path.write_text(text_of("http://b"))
        assert await watched.check()
        assert watched.state.error is None
        assert watched.config.servers[0].url == "http://b"

    async def test_another_mistake_is_news(self, watched, path, caplog):
        for content in ("[servers\n", "[server]\n"):
            path.write_text(content)
            assert await watched.check()
        assert watched.state.failures == len(errors(caplog)) == 2

    async def test_undone(self, watched, path):
        good = path.read_text()
        path.write_text("]")
        await watched.check()
        path.write_text(good)
        assert await watched.check()
        assert (watched.state.error, watched.state.reloads) == (None, 0)

    async def test_one_that_cannot_be_applied(self, watched, path):
        def refuse(config):
            raise ConfigError("too many servers")

        watched.apply_with(refuse)
        path.write_text(text_of("http://b"))
        assert await watched.check()
        assert watched.state.error == "too many servers"
        assert watched.config.servers[0].url == "http://a"

    async def test_what_is_in_force_may_be_less_than_what_was_asked_for(self, watched, path):
        in_force = config_from_urls(["http://c"], 1)
        watched.apply_with(lambda config: in_force)
        path.write_text(text_of("http://b"))
        assert await watched.check()
        assert watched.config is in_force


class TestVanished:
    async def test_is_said_once_and_changes_nothing(self, watched, path, caplog):
        path.unlink()
        assert await watched.check()
        assert watched.state.error == f"{path}: cannot be read: No such file or directory"
        assert watched.config.servers[0].url == "http://a"
        assert not await watched.check()
        assert len(errors(caplog)) == 1

    async def test_back_as_it_was(self, watched, path):
        good = path.read_text()
        path.unlink()
        await watched.check()
        path.write_text(good)
        assert await watched.check()
        assert (watched.state.error, watched.state.reloads) == (None, 0)

    async def test_back_with_another_content(self, watched, path):
        path.unlink()
        await watched.check()
        path.write_text(text_of("http://b"))
        assert await watched.check()
        assert (watched.state.error, watched.state.reloads) == (None, 1)

    async def test_back_with_the_mistake_it_had(self, watched, path):
        path.write_text("]")
        await watched.check()
        path.unlink()
        await watched.check()
        path.write_text("]")
        assert await watched.check()
        assert "not valid TOML" in watched.state.error

    async def test_a_directory_in_its_place(self, watched, path):
        path.unlink()
        path.mkdir()
        assert await watched.check()
        assert watched.state.error == (
            f"{path}: is a directory, not a regular file; give the path of a file"
        )


class TestWatch:
    async def test_sees_a_change_within_the_interval(self, path):
        path.write_text(text_of("http://a") + "config_reload_interval = 0.1\n")
        watched = WatchedConfig(path)
        changes = []
        task = asyncio.create_task(
            watched.watch(lambda: changes.append(watched.state.reloads), asyncio.Event())
        )
        path.write_text(text_of("http://b"))
        await until(lambda: changes == [1], seconds=1)
        task.cancel()


def test_fixed():
    fixed = FixedConfig(config_from_urls(["http://a"], 1), "--server")
    assert (fixed.state.source, fixed.state.sha256) == ("--server", "")


def config(servers: str, settings: str = ""):
    return parse_config(f"[servers]\nservers = [ {servers} ]\n[config]\n{settings}\n", "t")


A = '{ url = "http://a" }'
B = '{ url = "http://b" }'


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param((A,), (A,), [], id="nothing"),
        pytest.param((A,), ('{ url = "HTTP://A:80/" }',), [], id="url-written-otherwise"),
        pytest.param((f"{A}, {B}",), (f"{B}, {A}",), [], id="order"),
        pytest.param(
            (A,), (B,), ["server http://a removed", "server http://b added"], id="replaced"
        ),
        pytest.param(
            (A,),
            (f'{A}, {{ url = "http://b", drain = true }}',),
            ["server http://b added as draining"],
            id="added-drained",
        ),
        pytest.param(
            (A,),
            ('{ url = "http://a", max_concurrent_requests = 16, weight = 2, drain = true }',),
            [
                "server http://a: max_concurrent_requests 8 -> 16",
                "server http://a: weight 1 -> 2",
                "server http://a: drain false -> true",
            ],
            id="server",
        ),
        pytest.param(
            (A,),
            ('{ url = "http://a", models = ["m"], api_key = "s3cret" }',),
            ['server http://a: models not set -> ["m"]', "server http://a: api_key changed"],
            id="no-key-is-shown",
        ),
        pytest.param(
            (A, "max_retries = 1"),
            (A, 'max_retries = 2\nscrape_interval = 0.5\npolicy = "random"\naliases = { a = "b" }'),
            [
                'policy "load" -> "random"',
                "scrape_interval 1 -> 0.5",
                'aliases {} -> {"a":"b"}',
                "max_retries 1 -> 2",
            ],
            id="settings",
        ),
    ],
)
def test_describes(before, after, expected):
    assert list(describe_changes(config(*before), config(*after))) == expected
