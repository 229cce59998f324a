"""Rows in and answers out as an Arrow IPC stream; pyarrow is loaded by the first that comes."""

from collections.abc import Iterator, Sequence, Sized
from datetime import datetime
from struct import error, unpack_from
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tandem.serving.contract import EPOCH, MICROSECOND, Contract, Instance, Limits, instant
from tandem.serving.core import Answer
from tandem.serving.forms import Row, once, rows_of
from tandem.serving.refused import Fault, Header, Refused

if TYPE_CHECKING:
    import pyarrow as pa

ARROW = "application/vnd.apache.arrow.stream"
KIND: Header = (b"content-type", ARROW.encode())
MESSAGES = 1000
"""Batches of rows in one stream."""
COMPRESSION = 3
"""Its place among the fields of a batch."""


def read(body: bytes, contract: Contract, limits: Limits) -> list[Instance]:
    """Hold the rows of a stream against the contract.

    Raises:
        Refused: it is no stream, is compressed, or its columns are not what the contract says.

    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - 36 MiB, for those who speak Arrow alone
        import pyarrow.compute  # noqa: PLC0415
    except ModuleNotFoundError as exc:  # an image without its 115 MB
        raise Refused(415, "this server speaks no Arrow: pyarrow is not installed where it runs") from exc

    try:
        _check_messages(pa.ipc.MessageReader.open_stream(body))
        with pa.ipc.open_stream(body, options=pa.ipc.IpcReadOptions(use_threads=False)) as stream:
            _check_names(stream.schema, contract)
            rows = list[Row]()
            for batch in stream:
                if len(rows) + batch.num_rows > limits.rows:
                    raise Refused.of(Fault("$", f"at most {limits.rows} rows", "more"))
                batch.validate(full=True)
                rows += rows_of({name: _values(name, batch.column(name), limits) for name in batch.schema.names})
    except (pa.ArrowException, OSError, UnicodeDecodeError, error) as exc:
        raise Refused(400, f"the body is no Arrow IPC stream: {str(exc)[:200]}") from exc
    return contract.read(rows, lambda number, name: f"$.{name}[{number}]")


def write(answers: Sequence[Answer]) -> bytes:
    """Write answers as a stream of one batch."""
    import pyarrow as pa  # noqa: PLC0415

    columns = {
        "id": _texts([answer.id for answer in answers]),
        "score": _numbers(pa.float64(), np.float64, [answer.score for answer in answers]),
        "threshold": _numbers(pa.float64(), np.float64, [answer.threshold for answer in answers]),
        "action": _texts([answer.action for answer in answers]),
        "variant": _texts([answer.variant for answer in answers]),
        "bundle": _texts([answer.bundle for answer in answers]),
        "tick": _numbers(
            pa.timestamp("us", "UTC"), np.int64, [instant(datetime.fromisoformat(each.tick)) for each in answers]
        ),
        "stale": _numbers(pa.uint8(), np.uint8, [answer.stale for answer in answers]).cast(pa.bool_()),
        "lateness": _numbers(pa.float64(), np.float64, [answer.lateness or 0.0 for answer in answers]),
        "unknown": _lists([answer.unknown or () for answer in answers]),
        "out_of_range": _lists([answer.out_of_range or () for answer in answers]),
    }
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _numbers(kind: "pa.DataType", dtype: type[np.generic], values: Sequence[float]) -> "pa.Array":
    """Make a column of a buffer: pyarrow loads pandas, where it is, to look at a list."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.array(values, dtype))])


def _texts(values: Sequence[str]) -> "pa.Array":
    import pyarrow as pa  # noqa: PLC0415

    encoded = [value.encode() for value in values]
    buffers = [None, pa.py_buffer(_ends(encoded)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def _lists(values: Sequence[Sequence[str]]) -> "pa.Array":
    import pyarrow as pa  # noqa: PLC0415

    ends = pa.Array.from_buffers(pa.int32(), len(values) + 1, [None, pa.py_buffer(_ends(values))])
    return pa.ListArray.from_arrays(ends, _texts([text for texts in values for text in texts]))


def _ends(values: Sequence[Sized]) -> NDArray[np.int32]:
    return np.cumsum([0, *map(len, values)], dtype=np.int32)


def _check_messages(messages: "Iterator[pa.ipc.Message]") -> None:
    """Let nothing through that takes more room than it was sent in: a few bytes would unpack to any size.

    Raises:
        Refused: it is compressed, has dictionaries, or too many batches.

    """
    for number, message in enumerate(messages):
        if number > MESSAGES:
            raise Refused.of(Fault("$", f"at most {MESSAGES} batches", "more"))
        if message.type == "dictionary":
            raise Refused.of(Fault("$", "columns without dictionaries", "a dictionary"))
        if message.type == "record batch" and _has(message.metadata.to_pybytes(), COMPRESSION):
            raise Refused.of(Fault("$", "buffers that are not compressed", "a compressed batch"))


def _has(metadata: bytes, field: int) -> bool:
    """Say whether the table in a message's head has a field; pyarrow does not tell."""
    message = _offset(metadata, 0)
    head = _place(metadata, message, 2)
    return bool(_place(metadata, _offset(metadata, head), field))


def _offset(data: bytes, place: int) -> int:
    """Follow a flatbuffer's offset."""
    return int(place + unpack_from("<I", data, place)[0])


def _place(data: bytes, table: int, field: int) -> int:
    """Give where a flatbuffer's table has a field, 0 if it has not."""
    layout = table - unpack_from("<i", data, table)[0]
    if 4 + 2 * field >= unpack_from("<H", data, layout)[0]:
        return 0
    place = unpack_from("<H", data, layout + 4 + 2 * field)[0]
    return int(table + place) if place else 0


def _check_names(schema: "pa.Schema", contract: Contract) -> None:
    once(schema.names, "$[{}]")
    faults = [contract.unknown(f"$.{name[:60]}") for name in schema.names if name not in contract.types]
    if faults := faults + contract.missing(schema.names, "$"):
        raise Refused.of(*faults[:100])


def _values(name: str, column: "pa.Array", limits: Limits) -> list[Any]:
    """Give a column's values as Python has them.

    Raises:
        Refused: it is of a type that no field has, or longer than any.

    """
    import pyarrow as pa  # noqa: PLC0415

    kind, types = column.type, pa.types
    if types.is_timestamp(kind):
        options = pa.compute.CastOptions(pa.timestamp("us", "UTC"), allow_time_truncate=True)
        instants = column.cast(options=options).cast(pa.int64()).to_pylist()  # as times they would load pandas
        return _times(name, instants)
    if types.is_string_view(kind) and len(column):  # many views may show the same text
        lengths = np.frombuffer(column.buffers()[1], "<i4", 4 * len(column)).reshape(-1, 4)[:, 0]
        if int(lengths.sum(dtype=np.int64)) > limits.body:
            raise Refused.of(Fault(f"$.{name}", f"texts of {limits.body} bytes together", "more"))
    elif not (
        types.is_string(kind)
        or types.is_string_view(kind)
        or types.is_large_string(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
    ):
        raise Refused.of(Fault(f"$.{name}", "text, numbers, booleans or timestamps", str(kind)[:60]))
    values: list[Any] = column.to_pylist()
    return values


def _times(name: str, instants: Sequence[int | None]) -> list[datetime | None]:
    try:
        return [None if value is None else EPOCH + value * MICROSECOND for value in instants]
    except OverflowError as exc:
        raise Refused.of(Fault(f"$.{name}", "times of the years 1 to 9999", str(exc)[:60])) from exc
