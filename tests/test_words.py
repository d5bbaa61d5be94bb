"""Messages: what is near to what was given, and files named once."""

import pytest

from guided_dip.errors import choices
from guided_dip.words import of_file


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("cosin", "did you mean 'cosine'? (one of: cosine, linear, line)"),
        ("LINE", "did you mean 'line'? (one of: cosine, linear, line)"),  # the shortest
        ("lin", "did you mean 'line'? (one of: cosine, linear, line)"),
        ("cosjne", "did you mean 'cosine'? (one of: cosine, linear, line)"),
        ("l", "one of: cosine, linear, line"),
        ("photo", "one of: cosine, linear, line"),
        ("", "one of: cosine, linear, line"),
    ],
)
def test_what_is_near_is_named(given, said):
    assert choices(given, ["cosine", "linear", "line"]) == said


def test_a_long_list_is_left_out_where_something_is_near():
    many = [f"setting_{k}" for k in range(40)] + ["schedule"]
    assert choices("sheduel", many) == "did you mean 'schedule'?"
    assert choices("s", many).startswith("one of: setting_0, setting_1")


@pytest.mark.parametrize(
    ("name", "reason", "said"),
    [
        ("a.png", "in/a.png: is empty", "in/a.png: is empty"),
        ("a.png", "a.png: is empty", "a.png: is empty"),
        ("b/a.png", "C:\\in\\b\\a.png: is empty", "C:\\in\\b\\a.png: is empty"),
        ("a.png", "in/data.png: is empty", "a.png: in/data.png: is empty"),
        ("a.png", "is empty", "a.png: is empty"),
        ("a.png", "out/b.png: cannot be written", "a.png: out/b.png: cannot be written"),
    ],
)
def test_a_file_is_named_once(name, reason, said):
    assert of_file(name, reason) == said
