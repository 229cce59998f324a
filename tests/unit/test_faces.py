"""What each face makes of a body, without a server."""

import json
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from tandem.bundle import Bundle
from tandem.features import FeatureSpec
from tandem.serving import arrow, v2
from tandem.serving.contract import Contract, Limits, listed
from tandem.serving.core import Answer
from tandem.serving.forms import once, read_json, rows_of
from tandem.serving.http import Call
from tandem.serving.invocations import _rows_of_csv, _without_nan
from tandem.serving.refused import Refused
from tandem.serving.v2 import _header_size, _reply, _unpacked, _wanted

LIMITS = Limits(rows=5, body=1000)
FIELDS = {"name": "VARCHAR", "size": "BIGINT", "share": "DOUBLE", "at": "TIMESTAMP"}
SCHEMA = {
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "size": {"type": ["integer", "null"], "minimum": 1},
        "share": {"type": ["number", "null"]},
        "at": {"type": ["string", "null"], "format": "date-time"},
    },
}


@pytest.fixture(scope="module")
def contract() -> Contract:
    spec = cast("FeatureSpec", SimpleNamespace(fields=FIELDS))
    bundle = SimpleNamespace(spec=spec, files={"contract.json": "sha256:0"}, json=lambda _: SCHEMA)
    return Contract(cast("Bundle", bundle), LIMITS)


def faults(refused: "pytest.ExceptionInfo[Refused]") -> list[str]:
    return [fault.path for fault in refused.value.faults]


def values(instances: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [(each.name, each.size, each.share, each.at and each.at.year) for each in instances]


def test_floats_that_are_whole_are_integers_and_no_number_is_null(contract: Contract) -> None:
    rows = [{"name": "a", "size": 2.0, "share": float("nan")}, {"name": "b", "size": float("nan"), "share": 1}]
    assert values(contract.read(rows)) == [("a", 2, None, None), ("b", None, 1.0, None)]


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"name": "a", "size": 1.5}, "$.rows[0].size"),
        ({"name": "a", "size": 0.0}, "$.rows[0].size"),
        ({"name": "a", "share": float("inf")}, "$.rows[0].share"),
        ({"name": "a", "share": float("-inf")}, "$.rows[0].share"),
        ({"name": "a", "at": 1.5}, "$.rows[0].at"),
        ({"name": None}, "$.rows[0].name"),
        ({"size": 1}, "$.rows[0].name"),
        ({"name": "a", "colour": 1}, "$.rows[0].colour"),
    ],
)
def test_a_fault_has_a_place(contract: Contract, row: Any, path: str) -> None:  # noqa: ANN401
    with pytest.raises(Refused) as refused:
        contract.read([row], listed("$.rows"))
    assert (refused.value.status, faults(refused)) == (422, [path])


def test_json_may_write_integers_as_floats_and_may_not_nest_without_end(contract: Contract) -> None:
    assert values(contract.body(b'{"instances": [{"name": "a", "size": 2.0}]}').instances) == [("a", 2, None, None)]
    for body, status in ((b'{"x":' + b"[" * 100_000, 422), (b"[" * 100_000, 422), (b'{"instances": [{"name":', 400)):
        with pytest.raises(Refused) as refused:
            contract.body(body)
        assert refused.value.status in (status, 400)


def test_columns_become_rows() -> None:
    assert rows_of({"a": [1, 2], "b": "xy"}) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    with pytest.raises(Refused) as refused:
        once(["a", "b", "a"], "$.columns[{}]")
    assert faults(refused) == ["$.columns[2]"]


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b"[1]", 422)])
def test_a_body_of_another_form_is_told_so(body: bytes, status: int) -> None:
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(dict[str, Any] if status == 422 else Any)
    with pytest.raises(Refused) as refused:
        read_json(decoder, body)
    assert refused.value.status == status


def test_a_table_is_read_by_its_first_line(contract: Contract) -> None:
    table = b'\xef\xbb\xbfname,size,share,at\r\n"a\nb,\x0b",2.0,,2013-01-01 00:00:00+00:00\r\n\r\nc,,0.5,\r\n'
    rows = _rows_of_csv(table, 5)
    assert [row["name"] for row in rows] == ["a\nb,\x0b", "c"]
    contract.parse(rows)
    assert values(contract.read(rows)) == [("a\nb,\x0b", 2, None, 2013), ("c", None, 0.5, None)]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("size", "two"),
        ("size", "2.5"),
        ("size", "true"),
        ("share", "half"),
        ("share", "inf"),
        ("at", "20130101"),
    ],
)
def test_text_is_read_as_a_number_where_one_is_expected_and_never_as_a_moment(
    contract: Contract, field: str, text: str
) -> None:
    rows = [{"name": "20130101", field: text}]
    contract.parse(rows)
    with pytest.raises(Refused) as refused:
        contract.read(rows, listed("$"))
    assert faults(refused) == [f"$[0].{field}"]


@pytest.mark.parametrize(
    ("table", "status"),
    [(b"\xff", 400), (b'a\n"b', 400), (b"a,a\n1,2", 422), (b"a,b\n1", 422), (b"a\n" + b"1\n" * 6, 422)],
)
def test_what_is_no_table_is_told_so(table: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        _rows_of_csv(table, 5)
    assert refused.value.status == status


def test_nan_is_read_as_null_and_nothing_else_is_mended() -> None:
    assert json.loads(_without_nan(b'{"a": [NaN, 1, "NaN"]}')) == {"a": [None, 1, "NaN"]}
    for body in (b'{"a": [NaN, Infinity]}', b'["NaN"', b'["NaN", "\\ud800"]'):
        assert _without_nan(body) == body


def packed(*texts: bytes) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def test_tensors_are_unpacked() -> None:
    assert _unpacked("BYTES", memoryview(packed(b"a", "ü".encode())), 2, "$") == ["a", "ü"]
    assert _unpacked("FP16", memoryview(np.array([1.5], "<f2").tobytes()), 1, "$") == [1.5]
    assert _unpacked("BOOL", memoryview(b"\1\0"), 2, "$") == [True, False]


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("BYTES", packed(b"a")[:-1]),
        ("BYTES", packed(b"a", b"b")),
        ("BYTES", packed(b"\xff")),
        ("BYTES", b"\xff\xff\xff\xff"),
        ("BYTES", b""),
        ("INT64", b"1234567"),
        ("BF16", b"12"),
    ],
)
def test_bytes_that_are_no_tensor_are_told_so(datatype: str, data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        _unpacked(datatype, memoryview(data), 1, "$.inputs[0]")
    assert refused.value.status == 422


@pytest.mark.parametrize("given", [b"-1", b"11", b"x", b"9" * 5000, b"1.0"])
def test_a_length_of_json_that_cannot_be_is_told_so(given: bytes) -> None:
    with pytest.raises(Refused) as refused:
        _header_size(Call({"headers": [(v2.HEADER, given)]}, cast("Any", None)), b"0123456789")
    assert refused.value.status == 400


ANSWER = Answer("id", 0.25, 0.5, "none", "champion", "b", "2024-01-01T00:00:00+00:00", stale=False)


def test_answers_are_written_in_arrow() -> None:
    late = msgspec.structs.replace(ANSWER, stale=True, lateness=600.0, unknown=("a", "b"), out_of_range=("ü",))
    found = pa.ipc.open_stream(arrow.write([ANSWER, late])).read_all().to_pylist()
    assert [each["stale"] for each in found] == [False, True]
    assert [each["lateness"] for each in found] == [0.0, 600.0]
    assert [(each["unknown"], each["out_of_range"]) for each in found] == [([], []), (["a", "b"], ["ü"])]
    assert found[0]["tick"].isoformat() == ANSWER.tick


def test_outputs_are_written_in_tensors() -> None:
    asked = v2.Inference([], id="x", outputs=[v2.Wanted("score", {"binary_data": True}), v2.Wanted("action")])
    variant = cast("Any", SimpleNamespace(spec=SimpleNamespace(problem="p"), digest="d"))
    told = _reply(asked, variant, _wanted(asked), [ANSWER])
    size = int(dict(told.headers)[v2.HEADER])
    said = json.loads(told.body[:size])
    assert np.frombuffer(told.body[size:], "<f8").tolist() == [0.25]
    assert (said["id"], said["outputs"][0]["parameters"]) == ("x", {"binary_data_size": 8})
    assert said["outputs"][1]["data"] == ["none"]


def streamed(table: pa.Table, batch: int = 100) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=batch)
    return bytes(sink.getvalue().to_pybytes())


def test_arrow_is_read_by_its_types(contract: Contract) -> None:
    columns = {"name": pa.array(["a"], pa.string_view()), "size": pa.array([2.0]), "share": pa.array([None], pa.null())}
    for unit in ("s", "ms", "us", "ns"):
        at = pa.array([1_000_000_000], pa.timestamp(unit, None if unit == "s" else "Asia/Tokyo"))
        read = arrow.read(streamed(pa.table(columns | {"at": at})), contract, LIMITS)
        assert values(read) == [("a", 2, None, 2001 if unit == "s" else 1970)]


def test_arrow_is_loaded_by_who_speaks_it_and_pandas_never() -> None:
    code = """
import sys, tandem.serving.server
from tandem.serving.arrow import _values, write
from tandem.serving.contract import Limits
from tandem.serving.core import Answer
print("pyarrow" in sys.modules)
import pyarrow.compute
body = write([Answer("a", 0.5, 0.5, "b", "c", "d", "2024-01-01T00:00:00+00:00", False)])
batch = pyarrow.ipc.open_stream(body).read_next_batch()
for name in ("id", "score", "tick", "stale"):
    print(len(_values(name, batch.column(name), Limits())))
print(*{"pandas", "mlflow", "sklearn", "scipy", "xgboost", "polars", "duckdb"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1", "1", "1", "1"]


VIEWS = pa.array(["x" * 600] * 3, pa.string_view())


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"name": pa.array([["a"]])}, "text, numbers, booleans or timestamps"),
        ({"name": VIEWS}, "texts of 1000 bytes together"),
        ({"name": ["a"], "at": pa.array([2**62], pa.timestamp("us"))}, "times of the years 1 to 9999"),
        ({"name": ["a"] * 6}, "at most 5 rows"),
        ({"name": ["a"], "colour": ["red"]}, "an unknown field"),
        ({"size": [1]}, "the field is required"),
        ({"name": pa.array(["a"]).dictionary_encode()}, "dictionaries"),
    ],
)
def test_columns_that_no_field_has_are_told(contract: Contract, columns: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        arrow.read(streamed(pa.table(columns)), contract, LIMITS)
    assert refused.value.status == 422


def test_any_damage_to_a_stream_is_told(contract: Contract) -> None:
    columns = {"name": pa.array(["a", "b" * 20], pa.string_view()), "at": pa.array([1, None], pa.timestamp("ns"))}
    whole = streamed(pa.table(columns))
    told = set()
    for place in range(len(whole)):
        for body in (whole[:place], whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]):
            try:
                arrow.read(body, contract, LIMITS)
            except Refused as exc:
                told.add(exc.status)
    assert told == {400, 422}
