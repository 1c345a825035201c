import ast
import textwrap

import pytest

from build_types import Package, declarations
from hatch_build import MODULES
from tests.support.wheels import ROOT

HEADER = "from typing import Final\n"


@pytest.fixture(name="derive")
def derive_fixture(tmp_path):
    """Return what is declared for the module `p.m`, beside which there may be others."""

    def derive(text: str, *, compiled: tuple[str, ...] = ("p.m",), **others: str) -> list[str]:
        (tmp_path / "p").mkdir(exist_ok=True)
        for name, source in {"m": text, **others}.items():
            path = tmp_path / "p" / f"{name}.py"
            path.write_text(HEADER + textwrap.dedent(source))
        return declarations(tmp_path, compiled)["p.m"].splitlines()[1:]

    return derive


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("int", "Py_ssize_t"),
        ("float", "double"),
        ("bool", "bint"),
        ("bytes", "bytes"),
        ("str", "str"),
        ("list[int]", "list"),
        ("tuple[int, ...]", "tuple"),
        ("dict[str, int]", "dict"),
        ("set[int]", "set"),
        ("frozenset[int]", "frozenset"),
        ("Column", "long long[::1]"),
        ("Grid", "long long[:, ::1]"),
        ("'bytes'", "bytes"),
        ("bytes | None", "bytes"),
        ("None | bytes", "bytes"),
        ("Annotated[float, Meta(ge=0)]", "double"),
        pytest.param("int | None", "object", id="no-C-number-is-None"),
        pytest.param("bytes | bytearray", "object", id="one-of-two"),
        pytest.param("bytes | bytearray | None", "object", id="one-of-two-or-None"),
        pytest.param("Plain", "object", id="class-without-slots"),
        pytest.param("Typed", "Typed", id="extension-type"),
        pytest.param("Typed | None", "Typed", id="extension-type-or-None"),
        pytest.param("Numbers", "list", id="alias"),
        pytest.param("asyncio.Task[None]", "object", id="of-another-package"),
        pytest.param("Unknown", "object", id="unknown"),
    ],
)
def test_types(derive, annotation, expected):
    source = f"""
        Numbers = list[int]
        Column = memoryview
        Grid = memoryview

        class Plain:
            pass

        class Typed:
            __slots__ = ("x",)

        def f(x: {annotation}):
            pass
    """
    assert derive(source)[-1] == f"cpdef object f({expected} x)"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f() -> bool: ...", "cpdef bint f()"),
        ("def f(a: int, b=1) -> None: ...", "cpdef object f(Py_ssize_t a, object b=*)"),
        pytest.param("def _f(a: int): ...", "cdef object _f(Py_ssize_t a)", id="private"),
        pytest.param("def _f(): ...\nx = {'f': _f}", "", id="private-as-a-value"),
        pytest.param("def f(*, a): ...", "", id="keyword-only"),
        pytest.param("def f(*a): ...", "", id="any-number"),
        pytest.param("def f(**a): ...", "", id="any-keywords"),
        pytest.param("async def f(): ...", "", id="async"),
        pytest.param("def f(): yield 1", "", id="generator"),
        pytest.param("def f(): return lambda: 1", "", id="lambda"),
        pytest.param("def f(): return any(x for x in ())", "", id="generator-expression"),
        pytest.param("def f(): return [x for x in ()]", "cpdef object f()", id="list"),
        pytest.param("def f():\n  def g(): ...", "", id="nested"),
        pytest.param("@cache\ndef f(): ...", "", id="decorated"),
        pytest.param("def __getattr__(name): ...", "", id="special"),
    ],
)
def test_functions(derive, source, expected):
    assert derive(source) == ([expected] if expected else [])


def test_local_variables(derive):
    source = """
        def f(rows):
            a: int = 0
            b: float
            c: object = 1
            for b in rows:
                a += 1
    """
    assert derive(source) == [
        "@cython.locals(a='Py_ssize_t', b='double')",
        "cpdef object f(object rows)",
    ]


@pytest.mark.parametrize(
    ("assigned", "expected"),
    [
        ("0", "Py_ssize_t"),
        ("-1", "Py_ssize_t"),
        ("0.0", "double"),
        ("False", "bint"),
        ("b''", "bytes"),
        ("''", "str"),
        ("None", "object"),
        ("[]", "list"),
        ("{}", "dict"),
        ("()", "tuple"),
        ("a == 1", "bint"),
        ("ord('a')", "Py_ssize_t"),
        ("len(a)", "Py_ssize_t"),
        ("float('inf')", "double"),
        pytest.param("size", "Py_ssize_t", id="parameter"),
        pytest.param("other", "Other", id="parameter-of-a-compiled-class"),
        pytest.param("other.name", "bytes", id="attribute"),
        pytest.param("other.plain.limit", "double", id="attribute-of-an-attribute"),
        pytest.param("other.inherited", "list", id="attribute-of-a-base"),
        pytest.param("other.unknown", "object", id="attribute-without-a-type"),
        pytest.param("plain", "object", id="class-that-is-not-compiled"),
        pytest.param("Other()", "Other", id="instance"),
        pytest.param("number()", "Py_ssize_t", id="function"),
        pytest.param("other.named()", "str", id="method"),
        pytest.param("other.name or other.name", "bytes", id="one-of-two"),
        pytest.param("other.name or size", "object", id="one-of-two-types"),
        pytest.param("size + 1", "Py_ssize_t", id="sum"),
        pytest.param("size / 2", "object", id="division"),
        pytest.param("1 if size else 2", "Py_ssize_t", id="condition"),
        pytest.param("LIMIT", "double", id="constant"),
        pytest.param("unknown()", "object", id="unknown"),
    ],
)
def test_attributes_by_what_is_assigned(derive, assigned, expected):
    source = f"""
        LIMIT: Final = 1.5

        class Plain:
            limit: float

        class Base:
            __slots__ = ("inherited",)
            inherited: list[int]

        class Other(Base):
            __slots__ = ("name", "plain", "unknown")
            name: bytes
            plain: Plain

            def named(self) -> str: ...

        def number() -> int: ...

        class Typed:
            __slots__ = ("x",)

            def __init__(self, other: Other, plain: Plain, size: int, a) -> None:
                self.x = {assigned}
    """
    assert f"    cdef public {expected} x" in derive(source)


def test_classes(derive):
    source = """
        class Typed:
            __slots__ = ("a", "b", "c", "d")
            a: int

            def __init__(self) -> None:
                self.a = None
                self.b: float = unknown()
                self.c = 0
                self.c = b""

            def run(self, a: int = 1) -> "Typed | None": ...

            def _run(self) -> None:
                later(self._callback)

            def _callback(self) -> None: ...

            async def _wait(self) -> None: ...

        class Other(Typed):
            __slots__ = ()

        class More(Other):
            __slots__ = ("e",)

        class Failure(Exception):
            __slots__ = ("a",)
    """
    assert derive(source) == [
        "cdef class Typed",
        "cdef class Other(Typed)",
        "cdef class More(Other)",
        "cdef class Typed:",
        "    cdef public Py_ssize_t a",
        "    cdef public double b",
        "    cdef public bytes c",
        "    cdef public object d",
        "    cpdef Typed run(self, Py_ssize_t a=*)",
        "    cdef object _run(self)",
        "cdef class Other(Typed):",
        "    pass",
        "cdef class More(Other):",
        "    cdef public object e",
    ]


def test_classes_with_overrides(derive):
    """Of C only where each override is, since a C method calls no other; and `_f` is Python's."""
    source = """
        class Base:
            __slots__ = ()
            def __init__(self): ...
            def run(self): ...
            def _f(self): ...

        class InC(Base):
            __slots__ = ()
            def __init__(self): ...
            def run(self): ...
            def _f(self): ...

        class InPython(Base):
            __slots__ = ()
            def run(self): return lambda: 1
    """
    assert derive(source) == [
        "cdef class Base",
        "cdef class InC(Base)",
        "cdef class Base:",
        "    cpdef object run(self)",
        "cdef class InC(Base):",
        "    cpdef object run(self)",
    ]


def test_constants(derive):
    source = """
        from p.other import ELSEWHERE, Kind

        SEEN_BY_OTHERS = 1
        _NUMBER: Final = 1
        _STATED: Final[bytes] = unknown()
        _MEMBER: Final = Kind.MEMBER
        name: str
    """
    assert derive(source, other="ELSEWHERE: Final = 1.0") == [
        "cdef Py_ssize_t _NUMBER",
        "cdef bytes _STATED",
        "cdef object _MEMBER",
        "cdef double ELSEWHERE",
    ]


class TestImports:
    SOURCE = """
        from collections import deque
        from typing import TYPE_CHECKING

        from p import clock
        from p.other import Other, Plain, run, walk

        if TYPE_CHECKING:
            from p.late import Late

        def f(a: Other, b: Plain, c: Late, d: deque): ...
    """
    OTHER = """
        class Other:
            __slots__ = ("x",)

        class Plain:
            pass

        def run(): ...

        async def walk(): ...
    """
    CLOCK = "def now() -> float: ..."
    LATE = "class Late:\n    __slots__ = ('x',)\n"

    def test_of_compiled_modules(self, derive):
        compiled = ("p.m", "p.other", "p.clock", "p.late")
        others = {"other": self.OTHER, "clock": self.CLOCK, "late": self.LATE}
        assert derive(self.SOURCE, compiled=compiled, **others) == [
            "from p cimport clock",
            "from p.other cimport Other",
            "from p.other cimport run",
            "cpdef object f(Other a, object b, object c, object d)",
        ]

    def test_of_others(self, derive):
        derived = derive(self.SOURCE, other=self.OTHER, clock=self.CLOCK)
        assert derived == ["cpdef object f(object a, object b, object c, object d)"]

    def test_through_a_package(self, derive, tmp_path):
        (tmp_path / "p").mkdir()
        (tmp_path / "p" / "__init__.py").write_text("from p.other import Other")
        source = "from p import Other\ndef f(a: Other): ..."
        derived = derive(source, compiled=("p.m", "p.other"), other=self.OTHER)
        assert derived == ["from p.other cimport Other", "cpdef object f(Other a)"]

    def test_of_what_is_declared_by_hand(self, derive, tmp_path):
        (tmp_path / "p").mkdir()
        (tmp_path / "p" / "clock.pxd").touch()
        derived = derive(self.SOURCE, other=self.OTHER, clock=self.CLOCK)
        assert derived[0] == "from p cimport clock"


def test_leaves_a_module_alone_that_is_declared_by_hand(tmp_path):
    (tmp_path / "m.py").touch()
    (tmp_path / "m.pxd").touch()
    assert declarations(tmp_path, ["m"]) == {}


def test_a_module_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no module p\.m"):
        declarations(tmp_path, ["p.m"])


def test_only_calls_of_c_are_declared_by_hand():
    by_hand = {path.stem for path in (ROOT / "fastroute").rglob("*.pxd")}
    assert by_hand == {"byte_search", "clock"}
    assert declarations(ROOT, MODULES).keys() == set(MODULES)


def test_nobody_imports_a_constant_that_is_a_variable_of_c():
    package = Package(ROOT, MODULES)
    hidden = {(name, constant) for name in MODULES for constant in package.module(name).constants}
    imported = {
        (node.module, alias.name)
        for folder in ("fastroute", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    seen = hidden & imported
    assert not seen, "leave `Final` out (build_types.py says why)"
