"""How the documentation of a setting is found in the type of its field."""

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from fastroute.config.setting import SettingDoc, about, form, limits, setting_docs


class Sample(msgspec.Struct):
    wait: Annotated[float, limits("seconds", 0, 60), about("Time to wait.")] = 1.0
    tries: Annotated[int, limits("", 1, 9), about("Number of tries.")] = 3
    color: Annotated[str, form('must be "red"'), about("The color.")] = "red"
    key: Annotated[
        str, Meta(extra={"allowed": "must be text", "secret": True}), about("The key.")
    ] = ""
    derived: str = ""


DOCS = setting_docs(Sample)


def test_fields_without_a_description_are_no_settings():
    assert list(DOCS) == ["wait", "tries", "color", "key"]


@pytest.mark.parametrize(
    ("name", "unit", "allowed"),
    [
        pytest.param("wait", "seconds", "must be a number of seconds from 0 to 60", id="unit"),
        pytest.param("tries", "", "must be a whole number from 1 to 9", id="whole"),
        pytest.param("color", "", 'must be "red"', id="form"),
    ],
)
def test_what_a_value_must_be(name, unit, allowed):
    assert (DOCS[name].unit, DOCS[name].allowed) == (unit, allowed)


def test_the_whole_documentation():
    assert DOCS["key"] == SettingDoc(
        name="key",
        type=Sample.__annotations__["key"],
        unit="",
        description="The key.",
        allowed="must be text",
        secret=True,
    )
