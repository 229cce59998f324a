"""Tables line up, and a bar within a cell ends no cell."""

from tandem.tables import markdown, plain


def test_text_goes_to_the_left_and_numbers_to_the_right() -> None:
    shown = plain(("name", "rows", "share"), [("a", 1, None), ("long name", 1000, 0.12345)])
    assert shown == "name       rows   share\na             1\nlong name  1000  0.1235"


def test_a_table_may_have_no_rows() -> None:
    assert plain(("a", "b"), []) == "a  b"


def test_markdown_keeps_its_columns() -> None:
    assert (
        markdown(("a", "b"), [("x | y", 0.5), (None, 3)]) == "| a | b |\n| --- | ---: |\n| x \\| y | 0.5000 |\n|  | 3 |"
    )


def test_a_new_line_within_a_cell_ends_no_row() -> None:
    assert markdown(("a",), [("x\n## y",)]).splitlines()[2:] == ["| x ## y |"]
