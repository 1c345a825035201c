import pytest

from fastroute.control.fleet.model_budget import MAX_CHARACTERS, within_budget
from fastroute.control.watch.models import MAX_MODELS


def names(prefix: str, count: int, length: int = 0) -> tuple[str, ...]:
    return tuple(f"{prefix}{number:0{length}}" for number in range(count))


@pytest.mark.parametrize(
    "lists",
    [
        pytest.param([], id="no-servers"),
        pytest.param([None, (), ("a", "b"), None], id="few"),
        pytest.param([names("m", MAX_MODELS)], id="one-full"),
        pytest.param([names("m", MAX_MODELS)] * 20, id="all-alike"),
        pytest.param([names("m", 100)] * 1000, id="many-servers"),
    ],
)
def test_lists_are_complete(lists):
    assert within_budget(lists) == lists


def test_a_long_list_hides_no_other_server():
    lists = [names("x", MAX_MODELS), ("a", "b"), None, names("y", MAX_MODELS), ("c",)]
    shortened = within_budget(lists)
    assert shortened[1:3] + shortened[4:] == [("a", "b"), None, ("c",)]
    assert len({name for each in shortened for name in each or ()}) == MAX_MODELS
    for each, whole in zip(shortened, lists, strict=True):
        assert each == whole[: len(each)] if whole else each is whole


def test_all_names_fit_a_message():
    lists = [names("m", MAX_MODELS, 250)] * 10
    shortened = within_budget(lists)
    characters = sum(len(name) for each in shortened for name in each or ())
    assert MAX_CHARACTERS - 1000 < characters <= MAX_CHARACTERS
