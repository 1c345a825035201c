"""The generated parts of docs/configuration.md and servers.example.toml, from the code.

Run as a module, it renders them again.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import typer

from fastroute.cli.commands import app
from fastroute.config import Config, ServerConfig, setting_docs
from fastroute.rules.policy import POLICIES, Candidate, Loads, Policy

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
EXAMPLE = Path(__file__).parents[2] / "servers.example.toml"
POLICY_LINES = re.compile(r"(?<=One of\n)(#   .+\n)+(?=policy = )")
PART = re.compile(r"(?<=<!-- rendered: )(\w+) -->\n.*?(?=<!-- end -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """Return the page with each part between `<!-- rendered: X -->` and `<!-- end -->` updated."""
    parts = {
        "servers": lambda: _settings(ServerConfig),
        "config": lambda: _settings(Config),
        "policies": _policies,
        "commands": _commands,
    }
    return PART.sub(lambda found: f"{found[1]} -->\n\n{parts[found[1]]()}\n\n", page)


def with_policies(example: str) -> str:
    """The example with a line for each policy in the comment of the setting."""
    width = max(map(len, POLICIES))
    lines = (f"#   {policy.name:<{width}}  {policy.chooses}\n" for policy in POLICIES.values())
    return POLICY_LINES.sub(lambda _: "".join(lines), example)


def shown_default(struct: type[msgspec.Struct], name: str) -> str:
    """Return the default of a setting in TOML; a dash if it has none."""
    (field,) = [field for field in msgspec.structs.fields(struct) if field.name == name]
    value = field.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (int, float)):
        return f"`{value:.15g}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, tuple):
        return f"`{msgspec.json.encode(value).decode().replace(',', ', ')}`"
    # The only default that is created for each configuration is an empty table.
    return "`{}`" if field.default_factory is dict else "-"


def _settings(struct: type[msgspec.Struct]) -> str:
    rows = (
        (
            f"`{doc.name}`",
            shown_default(struct, doc.name),
            doc.allowed.removeprefix("must be "),
            doc.description,
        )
        for doc in setting_docs(struct).values()
    )
    return _table(("key", "default", "a value is", "meaning"), rows)


def _policies() -> str:
    heads = ("policy", "chooses", "reason that `explain = true` shows, for example")
    rows = ((f"`{each.name}`", each.chooses, f"`{_reason(each)}`") for each in POLICIES.values())
    return _table(heads, rows)


def _reason(policy: type[Policy]) -> str:
    """A policy's reason for a choice among four servers, of which one is idle."""
    four = [Candidate(row, 8) for row in range(4)]
    return policy().explain(four[0], four, Loads([0] * 4, [0, 1, 1, 1]))


def _commands() -> str:
    group: Any = typer.main.get_command(app)
    return "\n\n".join(_command(name, command) for name, command in group.commands.items())


def _command(name: str, command: Any) -> str:
    about = command.help.partition("\n\n")[0].replace("\n", " ")
    head = f"### fastroute {name}\n\n{about}"
    rows = [
        (_spelled(param), _option_default(param), param.help)
        for param in command.params
        if not getattr(param, "hidden", False)
    ]
    if not rows:
        return head
    return f"{head}\n\n" + _table(("option", "default", "meaning"), rows)


def _spelled(param: Any) -> str:
    """Return an option with its metavar, or an argument."""
    if param.param_type_name == "argument":
        return f"`{param.metavar}`"
    names = "/".join((*param.opts, *param.secondary_opts))
    if param.is_flag:
        return f"`{names}`"
    return f"`{names} {param.metavar or _takes(param.type)}`"


def _takes(kind: Any) -> str:
    if choices := getattr(kind, "choices", None):
        return "|".join(str(getattr(choice, "value", choice)) for choice in choices)
    name = kind.name.removesuffix(" range")
    return {"int": "N", "float": "N", "path": "PATH", "str": "TEXT"}[name]


def _option_default(param: Any) -> str:
    if isinstance(param.show_default, str):
        return param.show_default
    if param.default is None or param.default is False:
        return "-"
    if param.default is True:
        return f"`{param.opts[0]}`"
    return f"`{getattr(param.default, 'value', param.default)}`"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (heads, ("---",) * len(heads), *(map(_cell, row) for row in rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for path, rendered in ((PAGE, with_tables), (EXAMPLE, with_policies)):
        path.write_text(rendered(path.read_text(encoding="utf-8")), encoding="utf-8")
