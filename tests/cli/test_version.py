import sys
import sysconfig

import pytest

import fastroute.proxy
from fastroute import __version__
from fastroute.cli.version import ON_THE_HOT_PATH, is_compiled, version_line
from hatch_build import MODULES


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        pytest.param(sysconfig.get_config_var("EXT_SUFFIX"), True, id="of-this-python"),
        pytest.param(".cpython-39-x86_64-linux-gnu.so", False, id="of-another-python"),
        pytest.param(".pxd", False, id="declarations-only"),
    ],
)
def test_looks_at_what_would_be_imported(suffix, expected, tmp_path, monkeypatch):
    name = ON_THE_HOT_PATH.rpartition(".")[2]
    (tmp_path / f"{name}.py").touch()
    (tmp_path / f"{name}{suffix}").touch()
    monkeypatch.setattr(fastroute.proxy, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, ON_THE_HOT_PATH, raising=False)
    assert is_compiled() is expected


def test_stands_for_a_module_that_is_compiled():
    assert ON_THE_HOT_PATH in MODULES


def test_is_one_line():
    kind = "compiled" if is_compiled() else "pure Python"
    assert version_line() == f"fastroute {__version__} ({kind})"
