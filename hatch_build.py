"""Compiles the hot path for wheels: `MODULES`, by Cython, typed by their own annotations.

`build_types.py` has the rules by which annotations become types of C.

The same modules run uncompiled, too: in an editable installation, where there is no C compiler, and
where FASTROUTE_PURE=1 is set. FASTROUTE_COMPILED=1 makes the want of a compiler an error.

    python hatch_build.py TREE    # compile in place, in a copy of the sources, as the tests do
"""

import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
MODULES = (
    "fastroute.rules.json_object",
    "fastroute.rules.head_match",
    "fastroute.rules.headers",
    "fastroute.rules.request_head",
    "fastroute.rules.response_head",
    "fastroute.rules.response",
    "fastroute.rules.model_name",
    "fastroute.rules.policy",
    "fastroute.proxy.upstream",
    "fastroute.proxy.server",
    "fastroute.proxy.router",
    "fastroute.proxy.ledger",
    "fastroute.proxy.settings",
    "fastroute.proxy.request_ids",
    "fastroute.proxy.clients",
    "fastroute.proxy.observer",
    "fastroute.proxy.context",
    "fastroute.proxy.request_reader",
    "fastroute.proxy.reply",
    "fastroute.proxy.attempt",
    "fastroute.proxy.exchange",
    "fastroute.proxy.request_pipeline",
    "fastroute.proxy.client_reading",
    "fastroute.proxy.client",
)
"""What a request, a reply and an event pass through."""

DIRECTIVES = {
    "language_level": 3,
    # Cython by itself would take an int for Python's object, and look no type up.
    "annotation_typing": False,
    # Plain C functions: bound ones cost more at each call.
    "binding": False,
}


class CompiledModules(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled modules to a wheel, beside their sources."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless this wheel is to be pure.

        Without a working C compiler this warns, or ends the build if FASTROUTE_COMPILED=1.
        """
        if version == "editable" or os.environ.get("FASTROUTE_PURE") == "1":
            return
        from setuptools.errors import BaseError, CCompilerError

        # Hatchling reads the files after this hook has returned.
        self._directory = tempfile.TemporaryDirectory(prefix="fastroute-build-")
        try:
            built = compiled(Path(self.root), Path(self._directory.name))
        except (BaseError, CCompilerError) as error:
            remedy = "install a C compiler (apt-get install gcc python3-dev) and build again"
            if os.environ.get("FASTROUTE_COMPILED") == "1":
                self.app.abort(f"FASTROUTE_COMPILED=1, but this fails: {error}; {remedy}")
            cost = "the hot path is not compiled, and a request costs more CPU"
            self.app.display_warning(f"{cost}: {error}; {remedy}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"].update(built)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made on the way."""
        if hasattr(self, "_directory"):
            self._directory.cleanup()


def compiled(root: Path, directory: Path) -> dict[str, str]:
    """Compile `MODULES`.

    Args:
        root: The project's directory.
        directory: Where everything is written.

    Returns:
        The path of each compiled module, and its place in the wheel.
    """
    from Cython.Build import cythonize
    from setuptools import Extension

    # The want of a compiler or of Python's headers is told at once, not after all of Cython's work.
    probe = directory / "probe.c"
    probe.write_text("#include <Python.h>\n")
    _build([Extension("probe", [str(probe)])], directory / "probe")
    sources = directory / "sources"
    _declared(root, sources)
    before = Path.cwd()
    # Cython finds a .pxd file beside its module only by the way the module's name says.
    os.chdir(sources)
    try:
        extensions = cythonize(
            [
                Extension(name, [name.replace(".", "/") + ".py"], extra_compile_args=["-g0"])
                for name in MODULES
            ],
            build_dir=str(directory / "c"),
            compiler_directives=DIRECTIVES,
            nthreads=_jobs(),
            quiet=True,
        )
        _build(extensions, directory)
    finally:
        os.chdir(before)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    places = [name.replace(".", "/") + suffix for name in MODULES]
    return {str(directory / "lib" / place): place for place in places}


def _declared(root: Path, target: Path) -> None:
    """Copy the package, with the declarations of `MODULES` beside them."""
    # Hatchling loads this file by its path, from wherever it runs.
    sys.path.insert(0, str(ROOT))
    from build_types import declarations

    for path in (root / "fastroute").rglob("*.p*"):
        if path.suffix in (".py", ".pxd"):
            copy = target / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    for name, text in declarations(root, MODULES).items():
        (target / name.replace(".", "/")).with_suffix(".pxd").write_text(text)


def _build(extensions: list[Any], directory: Path) -> None:
    """Compile and link, into the folder `lib`."""
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    command = build_ext(Distribution({"name": "fastroute", "ext_modules": extensions}))
    command.build_lib = str(directory / "lib")
    command.build_temp = str(directory / "o")
    command.parallel = _jobs()
    command.ensure_finalized()
    command.run()


def _jobs() -> int:
    return len(os.sched_getaffinity(0))


def main() -> None:
    """Compile in place, in the tree named on the command line."""
    tree = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="fastroute-build-") as directory:
        for path, place in compiled(tree, Path(directory)).items():
            (tree / place).write_bytes(Path(path).read_bytes())


if __name__ == "__main__":
    main()
