"""Derives Cython's declarations (`.pxd` files) from the annotations of the modules it compiles.

The annotations that mypy checks are the only ones; nothing is declared twice. The rules, for those
who write such a module (`MODULES` in hatch_build.py):

Types: int is `Py_ssize_t`, so it must fit into 63 bits; float is `double`, bool is `bint`. `Column`
and `Grid`, as names of `memoryview`, are views of `long long` with one index and with two. bytes,
str, list, tuple, dict, set, frozenset and compiled classes are themselves, also with `| None`, but
their subclasses will not do. All else is `object`. Types are looked up through imports (not those
under TYPE_CHECKING) and aliases (as `Counts = list[int]`).

Classes: one that has `__slots__` and no base, or a compiled one, becomes an extension type, if its
methods that override a base's can be C functions. Its attributes are its slots. The type of an
attribute is the one annotated in the class body or in `__init__`; without that, it is the type of
what `__init__` assigns, as far as literals, parameters, constants, and annotated attributes and
functions of this package tell it. Annotate the rest.

Functions and methods: `cpdef`; with a leading underscore `cdef`, which neither another module nor a
test can call. Some stay Python's: async ones, generators, decorated ones, `__special__` ones, those
with `*` in the parameters, with a lambda, a nested function or a generator expression in the body,
and private ones that are passed as a value or overridden in the same module.

Local variables: those that are annotated, which costs nothing at run time, have that type. For the
variable of a loop write `row: int` on a line before the loop.

Constants: `NAME: Final = ...` becomes a C variable, typed like an attribute, which Python code
cannot see. So does this module's name for a constant that it imports. Where others import a
constant, tests for instance, leave `Final` out: it stays a Python object, looked up at each use.

Imports: what comes from a compiled module by `from ... import` at the top of a file is cimported.

A `.pxd` file that stands beside its module is taken as it is. It has what annotations cannot say:
an inline function that calls C (`byte_search`, `clock`).
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

OBJECT = "object"
TYPES = {
    "int": "Py_ssize_t",
    "float": "double",
    "bool": "bint",
    **{name: name for name in ("bytes", "str", "list", "tuple", "dict", "set", "frozenset")},
}
_VIEWS = {"Column": "long long[::1]", "Grid": "long long[:, ::1]"}
"""Names that the package gives to `memoryview`, by the number of indices."""
_NOT_NONE = ("Py_ssize_t", "double", "bint", *_VIEWS.values())
_CALLS = {"ord": "Py_ssize_t", "len": "Py_ssize_t", "index": "Py_ssize_t"}
"""What some functions and methods return, beside those that are called like a type."""
_DISPLAYS = {
    "List": "list",
    "ListComp": "list",
    "Tuple": "tuple",
    "Dict": "dict",
    "DictComp": "dict",
    "Set": "set",
    "SetComp": "set",
    "JoinedStr": "str",
    "Compare": "bint",
}
"""Types of expressions by the names of their classes in `ast`."""
_NOT_IN_C = (
    *(ast.Lambda, ast.GeneratorExp, ast.Yield, ast.YieldFrom),
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
)


def declarations(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Derive the declarations of some modules.

    Args:
        root: The folder that has the package.
        names: The modules that are compiled.

    Returns:
        The text of the `.pxd` file of each module that has none of its own.
    """
    package = Package(root, names)
    modules = [package.module(name) for name in names]
    return {
        each.name: "\n".join(each.declarations()) + "\n" for each in modules if not each.by_hand
    }


class Package:
    """The modules that are compiled, and those of the package that they import."""

    def __init__(self, root: Path, compiled: Sequence[str]) -> None:
        self.compiled = frozenset(compiled)
        self._root = root
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> "Module":
        """Return a module that must be there."""
        module = self.find(name)
        if module is None:
            raise FileNotFoundError(f"{self._root} has no module {name}")
        return module

    def find(self, name: str) -> "Module | None":
        """Return a module of the package, or None for any other."""
        if name not in self._modules:
            folder = self._root.joinpath(*name.split("."))
            paths = (folder.with_suffix(".py"), folder / "__init__.py")
            path = next((path for path in paths if path.is_file()), None)
            self._modules[name] = Module(self, name, path) if path else None
        return self._modules[name]


class Module:
    """What one module defines and imports at its top level.

    Attributes:
        by_hand: True if it has a `.pxd` file of its own.
    """

    def __init__(self, package: Package, name: str, path: Path) -> None:
        self.name = name
        self.by_hand = path.with_suffix(".pxd").is_file()
        self.is_compiled = name in package.compiled
        self._package = package
        tree = ast.parse(path.read_text(), str(path))
        self.classes = {n.name: Class(self, n) for n in tree.body if isinstance(n, ast.ClassDef)}
        self.functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        self.constants = {
            _name(n.target): n
            for n in tree.body
            if isinstance(n, ast.AnnAssign) and "Final" in ast.unparse(n.annotation)
        }
        self.aliases = {
            _name(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)
        }
        self.imports = {
            alias.asname or alias.name: (n.module or "", alias.name)
            for n in tree.body
            if isinstance(n, ast.ImportFrom)
            for alias in n.names
        }
        called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
        self._values = {_last_name(n) for n in ast.walk(tree) if id(n) not in called}

    def find(self, name: str) -> "tuple[Module, str] | None":
        """Return the module of the package that defines a name, and its name there."""
        if name not in self.imports:
            return self, name
        module, there = self.imports[name]
        found = self._package.find(module)
        return None if found is None else found.find(there)

    def find_class(self, name: str) -> "Class | None":
        """Return the class of the package that a name stands for."""
        found = self.find(name)
        return found and found[0].classes.get(found[1])

    @cached_property
    def _seen_by_python(self) -> set[str]:
        """Names of private functions that are passed as a value, or overridden."""
        return self._values.union(*(each.overriding() for each in self.classes.values()))

    # Types

    def annotated(self, node: ast.expr | None) -> "Kind":
        """Return the type that an annotation stands for."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.annotated(ast.parse(node.value, mode="eval").body)
        if isinstance(node, ast.Subscript):
            return self.annotated(_subscripted(node))
        if isinstance(node, ast.BinOp):
            some = [each for each in (node.left, node.right) if not _is_none(each)]
            kind = self.annotated(some[0]) if len(some) == 1 else OBJECT
            return OBJECT if kind in _NOT_NONE else kind
        return self._named(_name(node)) if node else OBJECT

    def _named(self, name: str) -> "Kind":
        if name in TYPES:
            return TYPES[name]
        found = self.find(name)
        if found is None:
            return OBJECT
        module, there = found
        if there in module.aliases:
            if _name(module.aliases[there]) == "memoryview":
                return _VIEWS.get(there, OBJECT)
            return module.annotated(module.aliases[there])
        return module.classes.get(there, OBJECT)

    def evaluated(self, node: ast.expr | None, known: "Kinds") -> "Kind":
        """Return the type of an expression.

        Args:
            node: The expression.
            known: Types of variables.
        """
        if isinstance(node, ast.Constant):
            return TYPES.get(type(node.value).__name__, OBJECT)
        if isinstance(node, ast.Name):
            return known.get(node.id) or self._constant(node.id)
        if isinstance(node, ast.Attribute):
            owner = self.evaluated(node.value, known)
            return owner.attribute(node.attr) if isinstance(owner, Class) else OBJECT
        if isinstance(node, ast.Call):
            return self._returned(node.func, known)
        operands = _operands(node)
        if operands:
            first, *others = {self.evaluated(each, known) for each in operands}
            return OBJECT if others else first
        return _DISPLAYS.get(type(node).__name__, OBJECT)

    def _constant(self, name: str) -> "Kind":
        found = self.find(name)
        if found is None:
            return OBJECT
        module, there = found
        if there not in module.constants:
            return module.evaluated(module.aliases.get(there), {})
        node = module.constants[there]
        stated = module.annotated(node.annotation)
        return module.evaluated(node.value, {}) if stated == OBJECT else stated

    def _returned(self, function: ast.expr, known: "Kinds") -> "Kind":
        name = _last_name(function)
        if name in _CALLS:
            return _CALLS[name]
        if isinstance(function, ast.Attribute):
            owner = self.evaluated(function.value, known)
            return owner.returned(name) if isinstance(owner, Class) else OBJECT
        found = self.find(name)
        if found is not None and found[1] in found[0].functions:
            return found[0].annotated(found[0].functions[found[1]].returns)
        return self._named(name)

    def c_type(self, kind: "Kind") -> str:
        """Return what a type is called in this module's declarations."""
        if isinstance(kind, str):
            return kind
        is_named = kind.is_extension_type and self.find_class(kind.name) is kind
        return kind.name if is_named else OBJECT

    # Declarations

    def declarations(self) -> Iterator[str]:
        """Return the lines of the `.pxd` file."""
        yield "cimport cython"
        yield from (f"from {module} cimport {name}" for module, name in self._cimports())
        imported = [name for name in self.imports if name.isupper() and self.find(name)]
        for name in (*self.constants, *imported):
            yield f"cdef {self.c_type(self._constant(name))} {name}"
        types = [each for each in self.classes.values() if each.is_extension_type]
        for each in types:
            yield each.heading
        for each in types:
            yield from each.declarations()
        for function in self.functions.values():
            yield from self.declared(function)

    def _cimports(self) -> Iterator[tuple[str, str]]:
        for name, (module, there) in self.imports.items():
            whole, found = self._package.find(f"{module}.{there}"), self.find(name)
            if whole is not None and (whole.is_compiled or whole.by_hand):
                yield module, there
            elif found is not None and found[0].exports(found[1]):
                yield found[0].name, found[1]

    def exports(self, name: str) -> bool:
        """True if other modules can cimport that name."""
        if name in self.classes:
            return self.classes[name].is_extension_type
        is_function = self.is_compiled and name in self.functions
        return is_function and bool(self.declared(self.functions[name]))

    def declared(self, node: ast.FunctionDef, *, is_method: bool = False) -> list[str]:
        """Return the lines that declare a function; none if it cannot be one of C."""
        is_private = node.name.startswith("_")
        if not _can_be_c(node) or (is_private and node.name in self._seen_by_python):
            return []
        kinds = {name: self.c_type(kind) for name, kind in self.parameters(node).items()}
        words = [f"{kind} {name}" for name, kind in kinds.items()]
        for place in range(len(words) - len(node.args.defaults), len(words)):
            words[place] += "=*"
        if is_method:
            words[0] = "self"
        lines = []
        local = ", ".join(f"{name}={kind!r}" for name, kind in self._locals(node))
        if local:
            lines.append(f"@cython.locals({local})")
        result = self.c_type(self.annotated(node.returns))
        keyword = "cdef" if is_private else "cpdef"
        return [*lines, f"{keyword} {result} {node.name}({', '.join(words)})"]

    def parameters(self, node: ast.FunctionDef) -> "Kinds":
        """Return the types of a function's parameters."""
        parameters = (*node.args.posonlyargs, *node.args.args)
        return {each.arg: self.annotated(each.annotation) for each in parameters}

    def _locals(self, node: ast.FunctionDef) -> Iterator[tuple[str, str]]:
        for each in ast.walk(node):
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                kind = self.c_type(self.annotated(each.annotation))
                if kind != OBJECT:
                    yield each.target.id, kind


class Class:
    """A class of the package."""

    def __init__(self, module: Module, node: ast.ClassDef) -> None:
        self.name = node.name
        self._module = module
        self._node = node
        self._methods = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}

    @cached_property
    def _bases(self) -> "list[Class | None]":
        return [self._module.find_class(_name(base)) for base in self._node.bases]

    @property
    def heading(self) -> str:
        """The beginning of its declaration."""
        bases = ", ".join(base.name for base in self._bases if base)
        return f"cdef class {self.name}" + (f"({bases})" if bases else "")

    @cached_property
    def is_extension_type(self) -> bool:
        """True if it becomes a class of C."""
        return (
            self._module.is_compiled
            and self._slots is not None
            and not self._node.decorator_list
            and all(base is not None and base.is_extension_type for base in self._bases)
            and all(_can_be_c(self._methods[name]) for name in self.overriding())
        )

    def overriding(self) -> list[str]:
        """Return the names of its methods that override a base's."""
        names = (name for name in self._methods if not name.startswith("__"))
        return [name for name in names if any(base.has(name) for base in self._bases if base)]

    def has(self, name: str) -> bool:
        """True if it has a method of that name, its own or a base's."""
        return name in self._methods or any(base.has(name) for base in self._bases if base)

    @cached_property
    def _slots(self) -> tuple[str, ...] | None:
        for each in self._node.body:
            if isinstance(each, ast.Assign) and _name(each.targets[0]) == "__slots__":
                return tuple(ast.literal_eval(each.value))
        return None

    @cached_property
    def _attributes(self) -> "Kinds":
        """The types of the attributes that are annotated or set up, its bases' left out."""
        kinds = dict(self._set_up())
        for node in self._node.body:
            if isinstance(node, ast.AnnAssign):
                kinds[_name(node.target)] = self._module.annotated(node.annotation)
        return kinds

    def _set_up(self) -> "Iterator[tuple[str, Kind]]":
        """Return the attributes that `__init__` assigns."""
        if "__init__" not in self._methods:
            return
        method = self._methods["__init__"]
        known = self._module.parameters(method)
        for node in ast.walk(method):
            if isinstance(node, ast.AnnAssign):
                yield _last_name(node.target), self._module.annotated(node.annotation)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
                yield node.targets[0].attr, self._module.evaluated(node.value, known)

    def attribute(self, name: str) -> "Kind":
        """Return the type of an attribute."""
        if name in self._attributes:
            return self._attributes[name]
        return next((base.attribute(name) for base in self._bases if base), OBJECT)

    def returned(self, name: str) -> "Kind":
        """Return the type of what a method returns."""
        if name in self._methods:
            return self._module.annotated(self._methods[name].returns)
        return next((base.returned(name) for base in self._bases if base), OBJECT)

    def declarations(self) -> Iterator[str]:
        """Return the lines that declare the extension type."""
        lines = []
        for name in self._slots or ():
            kind = self._module.c_type(self._attributes.get(name, OBJECT))
            lines.append(f"cdef public {kind} {name}")
        for method in self._methods.values():
            lines += self._module.declared(method, is_method=True)
        yield f"{self.heading}:"
        yield from (f"    {line}" for line in lines or ["pass"])


Kind = str | Class
"""A type: C's name of it, or a class of the package."""
Kinds = Mapping[str, Kind]
"""Types of variables or attributes, by name."""


def _can_be_c(node: ast.FunctionDef) -> bool:
    parameters = node.args
    if node.name.startswith("__") or node.decorator_list:
        return False
    if parameters.vararg or parameters.kwarg or parameters.kwonlyargs:
        return False
    return not any(isinstance(each, _NOT_IN_C) for each in ast.walk(node) if each is not node)


def _operands(node: ast.expr | None) -> Sequence[ast.expr]:
    """Return those parts of an expression that decide its type, if they have the same one."""
    if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Div):
        return node.left, node.right
    if isinstance(node, ast.BoolOp):
        return node.values
    if isinstance(node, ast.UnaryOp):
        return (node.operand,)
    if isinstance(node, ast.IfExp):
        return node.body, node.orelse
    return ()


def _subscripted(node: ast.Subscript) -> ast.expr:
    """Return that part of an annotation which names the type."""
    if _name(node.value) == "Final":
        return node.slice
    if _name(node.value) == "Annotated" and isinstance(node.slice, ast.Tuple):
        return node.slice.elts[0]
    return node.value


def _name(node: ast.expr | None) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
