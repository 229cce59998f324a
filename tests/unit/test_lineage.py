"""Facts are found through macros, and not mistaken for what a query calls by the same name."""

import pytest

from tandem.errors import ProblemError
from tandem.lineage import Lineage

KINDS = ("made", "sent", "lost")
MACROS = """
-- grain: one row per thing sent
create macro sent_by(key) as table
with lost as (select key as a from sent) select a from lost;
create macro all_of(key) as table select a from sent_by(key) union all select key from made;
create macro last_lost() as (select max(known_at) from lost);
create view gone as select * from lost;
"""


@pytest.mark.parametrize(
    ("sql", "facts"),
    [
        ("select * from made", ("made",)),
        ("select * from LOST join Made using (a)", ("made", "lost")),
        ("select 1 as x where exists (select 1 from lost)", ("lost",)),
        ("select * from (select * from sent) as made", ("sent",)),
        ("with made as (select * from sent) select * from made", ("sent",)),
        ("with made as (select * from made) select * from made", ("made",)),
        ("select * from (with made as (select 1 as a) select * from made) join made using (a)", ("made",)),
        ("select * from sent_by(a)", ("sent",)),
        ("select * from all_of(a)", ("made", "sent")),
        ("select * from sent_by(a) union all select * from gone", ("sent", "lost")),
        ("select a, Last_Lost() as at from made", ("made", "lost")),
        ("select * from gone", ("lost",)),
        ("select 'made' as sent, lost.x from range(3) as lost(x)", ()),
        ("select made.a from sent as made", ("sent",)),
    ],
)
def test_facts_of_a_query(sql: str, facts: tuple[str, ...]) -> None:
    assert Lineage(KINDS, MACROS).facts(sql) == facts


def test_a_macro_that_calls_itself_ends() -> None:
    assert Lineage(KINDS, "create macro f() as table select * from f() union all from sent").facts("from f()") == (
        "sent",
    )


def test_what_cannot_be_parsed_is_told_by_its_first_line() -> None:
    with pytest.raises(ProblemError, match="one row per thing"):
        Lineage(KINDS).facts("-- grain: one row per thing\nselect (")
