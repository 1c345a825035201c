import compileall
import email
import re
import sysconfig
import tarfile
from pathlib import Path

import pytest

from fastroute import __version__
from fastroute.views.dashboard.page import SCRIPTS
from hatch_build import MODULES
from tests.support.command import running, wait_until
from tests.support.programs import require_compiler
from tests.support.wheels import (
    COMPILED,
    PURE,
    PYTHONS,
    ROOT,
    THIS,
    Installed,
    Wheel,
    build,
    clean_environment,
    hatchling,
    modules_in_use,
    pip_install,
    unpacked,
)

KINDS = ("pure", "compiled")
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
SAID = {"pure": "pure Python", "compiled": "compiled"}
NO_COMPILER = {"CC": "/bin/false"}
pytestmark = pytest.mark.timeout(600)
"""Allow time for the first test to compile the wheel, about a minute."""


@pytest.fixture(name="sdist", scope="module")
def sdist_fixture(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(name="source", scope="module")
def source_fixture(sdist, tmp_path_factory):
    """The contents of the source distribution, without other files of the working directory."""
    return unpacked(sdist, tmp_path_factory.mktemp("source"))


@pytest.fixture(name="pure", scope="module")
def pure_fixture(tmp_path_factory):
    return Wheel(build(ROOT, tmp_path_factory.mktemp("pure"), "wheel", **PURE))


@pytest.fixture(name="compiled", scope="module")
def compiled_fixture(source, tmp_path_factory):
    """A wheel compiled without optimisation; `make test-packages` builds the shipped one."""
    require_compiler()
    target = tmp_path_factory.mktemp("compiled")
    return Wheel(build(source, target, "wheel", CFLAGS="-O0", **COMPILED))


@pytest.fixture(name="kind", scope="module", params=KINDS)
def kind_fixture(request):
    return request.param


@pytest.fixture(name="wheel", scope="module")
def wheel_fixture(kind, request):
    return request.getfixturevalue(kind)


class TestWheel:
    def test_has_the_package_and_nothing_else(self, wheel, kind):
        tops = {name.split("/")[0] for name in wheel.files}
        assert tops == {"fastroute", f"fastroute-{__version__}.dist-info"}
        packed = {name for name in wheel.files if name.endswith(".py")}
        sources = {str(path.relative_to(ROOT)) for path in (ROOT / "fastroute").rglob("*.py")}
        assert packed == sources
        assert not any("test" in Path(name).stem.split("_") for name in packed)
        libraries = {name.replace(".", "/") + SUFFIX for name in MODULES}
        assert {name for name in wheel.files if name.endswith(".so")} == (
            libraries if kind == "compiled" else set()
        )

    def test_has_nothing_of_the_compiler(self, wheel):
        endings = {Path(name).suffix for name in wheel.files}
        assert not endings & {".c", ".pxd", ".o", ".h", ".pyc"}

    def test_has_what_the_dashboard_is_made_of(self, wheel):
        folder = Path("fastroute", "views", "dashboard")
        parts = {str(folder / each.name) for each in (ROOT / folder).iterdir() if each.is_file()}
        assert {"page.html", "page.css", *SCRIPTS} <= {Path(part).name for part in parts}
        assert parts <= wheel.files

    def test_tells_type_checkers_that_it_has_types(self, wheel):
        assert "fastroute/py.typed" in wheel.files

    def test_has_command_and_licence(self, wheel):
        assert wheel.text("entry_points.txt").split("\n")[:2] == [
            "[console_scripts]",
            "fastroute = fastroute.__main__:main",
        ]
        assert wheel.text("licenses/LICENSE") == (ROOT / "LICENSE").read_text()

    def test_has_metadata(self, wheel):
        metadata = email.message_from_string(wheel.text("METADATA"))
        assert (metadata["Name"], metadata["Version"]) == ("fastroute", __version__)
        assert metadata["Requires-Python"] == ">=3.11"
        # Development dependencies are not installed for users.
        needs = {re.match(r"[\w-]+", each)[0] for each in metadata.get_all("Requires-Dist")}
        assert "uvloop" in needs
        assert not needs & {"pytest", "mypy", "ruff", "hatchling", "cython", "setuptools"}


class TestTag:
    def test_of_the_pure_wheel_is_for_any_python_3(self, pure):
        assert pure.path.name == f"fastroute-{__version__}-py3-none-any.whl"
        assert "Root-Is-Purelib: true" in pure.text("/WHEEL")

    def test_of_the_compiled_wheel_is_for_this_one(self, compiled):
        this = "cp" + THIS.replace(".", "")
        tag = rf"{this}-{this}-linux_\w+"
        assert re.fullmatch(rf"fastroute-{__version__}-{tag}\.whl", compiled.path.name)
        assert re.search(rf"^Tag: {tag}$", compiled.text("/WHEEL"), re.MULTILINE)
        assert "Root-Is-Purelib: false" in compiled.text("/WHEEL")


class TestSdist:
    def test_has_all_to_build_and_test(self, sdist):
        with tarfile.open(sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        by_hand = {str(path.relative_to(ROOT)) for path in (ROOT / "fastroute").rglob("*.pxd")}
        assert by_hand
        needed = {
            *("pyproject.toml", "README.md", "LICENSE", "servers.example.toml", "Makefile"),
            *("requirements-dev.lock", "tests/conftest.py", "fastroute/py.typed", "Dockerfile"),
            *("hatch_build.py", "build_types.py", *by_hand),
        }
        assert needed <= names
        tops = {name.split("/")[0] for name in names}
        assert not tops & {".git", ".venv", ".ci", ".cache", "build", "dist", "servers.toml"}
        assert not any("__pycache__" in name for name in names)

    def test_builds_the_same_wheel(self, pure, source, tmp_path):
        again = build(source, tmp_path, "wheel", **PURE)
        assert again.read_bytes() == pure.path.read_bytes()


class TestWithoutACompiler:
    def test_a_wheel_is_pure_and_the_builder_is_told(self, pure, source, tmp_path):
        done = hatchling(source, tmp_path, "wheel", **NO_COMPILER)
        assert done.returncode == 0
        (built,) = tmp_path.iterdir()
        assert built.read_bytes() == pure.path.read_bytes()
        assert "the hot path is not compiled" in done.stderr
        assert "/bin/false" in done.stderr
        assert "apt-get install gcc" in done.stderr

    def test_no_wheel_is_made_where_it_must_be_compiled(self, source, tmp_path):
        done = hatchling(source, tmp_path, "wheel", **NO_COMPILER, **COMPILED)
        assert done.returncode == 1
        assert "FASTROUTE_COMPILED=1" in done.stderr
        assert "/bin/false" in done.stderr
        assert "apt-get install gcc" in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.iterdir())


def install(wheel: Wheel, name: str, folder: Path) -> Installed:
    """Install the wheel into a new environment, without network access."""
    installed = clean_environment(name, folder)
    pip_install(installed, "--no-index", "--no-deps", "--no-compile", str(wheel.path))
    return installed


@pytest.fixture(name="installed", scope="module")
def installed_fixture(wheel, tmp_path_factory):
    """The wheel, with its dependencies taken from the environment of the tests."""
    installed = install(wheel, THIS, tmp_path_factory.mktemp("installed"))
    # After its own packages, so that fastroute is that of the wheel.
    (installed.packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return installed


class TestInstalled:
    def test_runs_from_the_wheel(self, installed):
        where = installed.run("python", "-c", "import fastroute; print(fastroute.__file__)")
        assert Path(where.strip()) == installed.packages / "fastroute" / "__init__.py"

    @pytest.mark.parametrize(
        "command", [("fastroute",), ("python", "-m", "fastroute")], ids=["script", "module"]
    )
    @pytest.mark.parametrize("word", ["version", "--version"])
    def test_tells_what_it_is(self, installed, kind, command, word):
        assert installed.run(*command, word) == f"fastroute {__version__} ({SAID[kind]})\n"

    def test_has_help(self, installed):
        assert "Usage: fastroute" in installed.run("fastroute", "--help")

    def test_takes_a_request_to_a_server(self, installed, kind, tmp_path):
        modules = modules_in_use(installed, tmp_path)
        assert modules == (set(MODULES) if kind == "compiled" else set())

    def test_shows_off(self, installed, tmp_path):
        demo = ("demo", "--port", "0")
        with running(tmp_path, *demo, python=installed.python, cwd=tmp_path) as command:
            wait_until(lambda: command.get("/health")["healthy_servers"] == 3)
            assert command.get("/livez")["version"] == __version__
            assert command.stop() == 0


class TestPythons:
    @pytest.mark.parametrize("name", PYTHONS)
    def test_take_the_pure_wheel(self, pure, name, tmp_path):
        installed = install(pure, name, tmp_path / "env")
        version = "import fastroute; print(fastroute.__version__)"
        assert installed.run("python", "-c", version) == f"{__version__}\n"
        assert (installed.folder / "bin" / "fastroute").is_file()
        if name == THIS:
            assert compileall.compile_dir(installed.packages / "fastroute", quiet=1)
        else:
            installed.run("python", "-m", "compileall", "-q", str(installed.packages))
