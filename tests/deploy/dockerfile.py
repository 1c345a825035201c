"""Parsing and linting of a Dockerfile."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

RUNS_SOMETHING = ("RUN", "CMD", "ENTRYPOINT")
NON_ROOT = re.compile(r"[1-9]\d*(:[1-9]\d*)?")
SECRET = re.compile(r"password|passwd|secret|token|api_?key|credential", re.IGNORECASE)
PINNED = re.compile(r".+:\d[\w.-]*(@sha256:[0-9a-f]{64})?")


@dataclass
class Instruction:
    """One instruction, with its continued lines joined.

    Attributes:
        name: In capitals.
        text: Text after the name.
    """

    name: str
    text: str

    def words(self) -> list[str] | None:
        """Return the words of the exec form; None if it is not in exec form."""
        bare = self.text.partition(" CMD ")[2] if self.name == "HEALTHCHECK" else self.text
        try:
            found = json.loads(bare)
        except ValueError:
            return None
        return found if isinstance(found, list) else None


def instructions(text: str) -> list[Instruction]:
    """Read a Dockerfile."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    parts = (line.split(None, 1) for line in joined.splitlines() if line.strip())
    return [Instruction(name.upper(), " ".join(rest.split())) for name, rest in parts]


def last_stage(text: str) -> list[Instruction]:
    """Return the instructions of the final stage."""
    found = instructions(text)
    start = max(number for number, each in enumerate(found) if each.name == "FROM")
    return found[start:]


def only(stage: list[Instruction], name: str) -> Instruction:
    """Return the only instruction with this name."""
    (found,) = [each for each in stage if each.name == name]
    return found


def faults(text: str) -> list[str]:
    """Return the problems, in words; none if there are no problems."""
    found = instructions(text)
    stage = last_stage(text)
    return [
        *_base_faults(found),
        *_form_faults(found),
        *_secret_faults(found),
        *_copy_faults(found),
        *_pip_faults(found),
        *_apt_faults(found),
        *_final_faults(stage),
    ]


def _base_faults(found: list[Instruction]) -> Iterator[str]:
    arguments = dict(each.text.split("=", 1) for each in found if each.name == "ARG")
    for each in found:
        if each.name == "FROM":
            image = re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], each.text.split()[0])
            if not PINNED.fullmatch(image):
                yield f"base without a version: {image}"


def _form_faults(found: list[Instruction]) -> Iterator[str]:
    for each in found:
        if each.name in (*RUNS_SOMETHING, "HEALTHCHECK") and each.words() is None:
            yield f"{each.name} in shell form"
        if each.name == "WORKDIR" and not each.text.startswith("/"):
            yield f"relative WORKDIR {each.text}"


def _secret_faults(found: list[Instruction]) -> Iterator[str]:
    for each in found:
        if each.name in ("ENV", "ARG") and SECRET.search(each.text):
            yield f"a secret in {each.name}"


def _copy_faults(found: list[Instruction]) -> Iterator[str]:
    for each in found:
        if each.name == "ADD":
            yield "ADD where COPY says what happens"
        if each.name == "COPY" and each.text.split()[0] == ".":
            yield "COPY of everything"


def _pip_faults(found: list[Instruction]) -> Iterator[str]:
    for each in found:
        words = each.words() if each.name == "RUN" else None
        if not words or "install" not in words or not words[0].endswith("pip"):
            continue
        if "--no-cache-dir" not in words:
            yield "pip leaves its cache"
        if not {"--require-hashes", "--no-index"} & set(words):
            yield "pip takes whatever version there is"


def _apt_faults(found: list[Instruction]) -> Iterator[str]:
    for each in found:
        if each.name == "RUN" and "apt-get install" in each.text:
            if "apt-get update && " not in each.text:
                yield "apt-get may know only what was there when a layer was kept"
            if "--no-install-recommends" not in each.text:
                yield "apt-get installs what nobody asked for"


def _final_faults(stage: list[Instruction]) -> Iterator[str]:
    users = [each.text for each in stage if each.name == "USER"]
    if not users or not NON_ROOT.fullmatch(users[-1]):
        yield "runs as root, or as a name that may be root"
    for name in ("HEALTHCHECK", "ENTRYPOINT", "EXPOSE"):
        if not any(each.name == name for each in stage):
            yield f"no {name}"
    if any(each.name == "RUN" and re.search("pip|apt-get", each.text) for each in stage):
        yield "the shipped image builds"
