"""The tree of packages in CONTRIBUTING.md, from docstrings; run as a module to update it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
PART = re.compile(r"(?<=<!-- rendered: tree -->\n).*?(?=<!-- end -->)", re.DOTALL)


def with_tree(page: str) -> str:
    """Return the page with the tree between the marks renewed."""
    return PART.sub(lambda _: _tree(), page)


def _tree() -> str:
    inits = sorted((ROOT / "fastroute").rglob("__init__.py"))
    rows = [f"| `{_folder(init)}/` | {_summary(init)} |" for init in inits]
    return "\n".join(("", "| package | contents |", "| --- | --- |", *rows, "", ""))


def _folder(init: Path) -> str:
    return init.parent.relative_to(ROOT).as_posix()


def _summary(init: Path) -> str:
    """Return the first line of a package's docstring."""
    docstring = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].rstrip(".")


if __name__ == "__main__":
    PAGE.write_text(with_tree(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
