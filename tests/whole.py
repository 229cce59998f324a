"""Whole requests, as a server itself says that they should be: for who asks them, and for who breaks them."""

import json
from io import BytesIO
from random import Random
from typing import Any

import httpx
import hypothesis
import pyarrow as pa
from hypothesis.strategies import characters, from_regex

DRAWN = 100
"""Texts of each pattern."""


class Requests:
    """Whole requests of each kind, of so many rows."""

    def __init__(self, address: str, rows: int = 3) -> None:
        """Take what works from what the server says of itself."""
        said = httpx.get(f"{address}/openapi.json").json()
        schema = said["components"]["schemas"]["Instance"]
        self.instances = _instances(schema, rows)
        columns = {name: [each[name] for each in self.instances] for name in self.instances[0]}
        table = [
            [*columns],
            *([("" if value is None else value) for value in each.values()] for each in self.instances),
        ]
        content = said["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]
        tensors = content["application/json"]["example"]["inputs"]
        tensors = [each | {"shape": [rows], "data": columns[each["name"]]} for each in tensors]
        infer = f"/v2/models/{said['info']['title']}/infer"
        self.bodies = [
            ("/v1/predict", "application/json", json.dumps({"instances": self.instances}).encode()),
            ("/v1/predict", "application/vnd.apache.arrow.stream", _stream(columns)),
            ("/invocations", "application/json", json.dumps({"dataframe_records": self.instances}).encode()),
            ("/invocations", "text/csv", "\n".join(",".join(map(str, each)) for each in table).encode()),
            (infer, "application/json", json.dumps({"inputs": tensors}).encode()),
            (infer, "application/octet-stream", _binary(columns)),
        ]

    def headers(self, kind: str, body: bytes) -> dict[str, str]:
        """Say what a body is."""
        said = {"content-type": kind}
        if kind.endswith("octet-stream"):
            said["inference-header-content-length"] = str(end_of_json(body))
        return said

    def head(self, random: Random) -> bytes:
        """Give a request without a body."""
        path = random.choice(["/livez", "/readyz", "/v1/model", "/v2", "/ping", "/openapi.json", "/docs", "/nothing"])
        return f"{random.choice(['GET', 'HEAD', 'GET', 'POST'])} {path} HTTP/1.1\r\nhost: x\r\n".encode()

    def whole(self, random: Random, body: bytes | None = None, *more: str) -> bytes:
        """Give a request with a body."""
        path, kind, own = random.choice(self.bodies)
        body = own if body is None else body
        said = [f"{name}: {value}" for name, value in self.headers(kind, own).items()]
        lines = [f"POST {path} HTTP/1.1", "host: x", *said, f"content-length: {len(body)}", *more]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def end_of_json(body: bytes) -> int:
    """Give where the JSON ends that stands before binary tensors."""
    return body.index(b"}]}") + 3


def _instances(schema: dict[str, Any], rows: int) -> list[dict[str, Any]]:
    """Make the example's instance again and again, by keys of its own each time."""
    example, random = schema["examples"][0], Random(rows)  # noqa: S311
    drawn = {name: _values(each, min(rows, DRAWN)) for name, each in schema["properties"].items() if "pattern" in each}
    made = []
    for number in range(rows):
        own: dict[str, Any] = {name: random.choice(values) for name, values in drawn.items()}
        for name, each in schema["properties"].items():
            if each.get("key") and each.get("type") == "integer":
                own[name] = random.randint(each["minimum"], each["maximum"])
            elif each.get("key") and "string" in each["type"] and not each.keys() & {"pattern", "format", "enum"}:
                own[name] = str(number)
        made.append(example | own)
    return made


def _values(schema: dict[str, Any], count: int) -> list[str]:
    """Draw what a pattern lets through."""
    found: list[str] = []

    @hypothesis.settings(max_examples=count, database=None, derandomize=True)
    @hypothesis.given(from_regex(schema["pattern"], fullmatch=True, alphabet=characters(codec="ascii")))
    def draw(value: str) -> None:
        found.append(value)

    draw()
    return found


def _stream(columns: dict[str, list[Any]]) -> bytes:
    sink, table = BytesIO(), pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _binary(columns: dict[str, list[Any]]) -> bytes:
    inputs, data = [], b""
    for name, values in columns.items():
        datatype, parts = "BYTES", [_text(str(value)) for value in values]
        if isinstance(values[0], bool):
            datatype, parts = "BOOL", [bytes([value]) for value in values]
        elif isinstance(values[0], int):
            datatype, parts = "INT64", [value.to_bytes(8, "little", signed=True) for value in values]
        tensor = b"".join(parts)
        size = {"binary_data_size": len(tensor)}
        inputs.append({"name": name, "shape": [len(values)], "datatype": datatype, "parameters": size})
        data += tensor
    return json.dumps({"inputs": inputs}).encode() + data


def _text(value: str) -> bytes:
    return len(value.encode()).to_bytes(4, "little") + value.encode()
