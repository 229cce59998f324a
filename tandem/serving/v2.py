"""The Open Inference Protocol, version 2, over REST: a tensor for each field, in JSON or in binary."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from importlib.metadata import version
from struct import Struct, error
from typing import Any

import msgspec
import numpy as np

from tandem.serving.core import Answer
from tandem.serving.forms import once, read_json, rows_of
from tandem.serving.http import FORM, JSON, JSON_KIND, Call, Reply, Route, encode
from tandem.serving.refused import Fault, Header, Refused
from tandem.serving.service import Service
from tandem.serving.variant import Variant

BINARY = "application/octet-stream"
HEADER = b"inference-header-content-length"
DATATYPES = {"VARCHAR": "BYTES", "BIGINT": "INT64", "DOUBLE": "FP64", "BOOLEAN": "BOOL", "TIMESTAMP": "BYTES"}
"""How the protocol calls the type of a field; a time is text, by RFC 3339."""
NUMBERS = {
    "BOOL": "?",
    **{f"{sign}{8 * size}": f"<{kind}{size}" for sign, kind in (("INT", "i"), ("UINT", "u")) for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
"""How numpy calls a datatype."""
LENGTH = Struct("<I")

Parameters = dict[str, Any] | None


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """A column of one field, as the client sends it."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = None
    data: list[Any] | None = None


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """An output that the client asks for."""

    name: str
    parameters: Parameters = None


class Inference(msgspec.Struct, forbid_unknown_fields=True):
    """A request; name and version stand in the path."""

    inputs: list[Tensor]
    id: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    parameters: Parameters = None
    outputs: list[Wanted] | None = None


READ = msgspec.json.Decoder(Inference)
OUTPUTS: dict[str, tuple[str, Callable[[Answer], object]]] = {
    "score": ("FP64", lambda answer: answer.score),
    "threshold": ("FP64", lambda answer: answer.threshold),
    "action": ("BYTES", lambda answer: answer.action),
    "id": ("BYTES", lambda answer: answer.id),
    "variant": ("BYTES", lambda answer: answer.variant),
    "bundle": ("BYTES", lambda answer: answer.bundle),
    "tick": ("BYTES", lambda answer: answer.tick),
    "stale": ("BOOL", lambda answer: answer.stale),
    "lateness": ("FP64", lambda answer: answer.lateness or 0.0),
    "unknown": ("BYTES", lambda answer: ",".join(answer.unknown or ())),
    "out_of_range": ("BYTES", lambda answer: ",".join(answer.out_of_range or ())),
}
"""What is told of each row, the score first: its datatype, and where an answer has it."""


class V2:
    """Predictions by tensors."""

    def __init__(self, service: Service) -> None:
        """Answer by a service."""
        self._service = service

    def routes(self) -> list[Route]:
        """Name what it answers."""
        found = [
            Route("GET", "/v2", self.server, "v2_server", "health"),
            Route("GET", "/v2/health/live", self.live, "v2_live", "health"),
            Route("GET", "/v2/health/ready", self.ready, "v2_ready", "health"),
        ]
        for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            found += [
                Route("GET", model, self.model, "v2_model", "read"),
                Route("GET", f"{model}/ready", self.model_ready, "v2_model_ready", "health"),
                Route("POST", f"{model}/infer", self.infer, "v2_infer", "predict", costly=True, plain=True),
            ]
        return found

    async def server(self, _: Call) -> Reply:
        """Name the server, and what it can do beside the protocol."""
        return Reply(encode({"name": "tandem", "version": version("tandem"), "extensions": ["binary_tensor_data"]}))

    async def live(self, _: Call) -> Reply:
        """It can answer this."""
        return Reply(b'{"live":true}')

    async def ready(self, _: Call) -> Reply:
        """It answers predictions, and is not about to leave."""
        self._service.ready()
        return Reply(b'{"ready":true}')

    async def model(self, call: Call) -> Reply:
        """Name the model's versions, inputs and outputs."""
        variant, contract = self._named(call), self._service.contract
        kinds = variant.spec.fields
        said = {
            "name": variant.spec.problem,
            "versions": [self._service.champion.digest],  # whom one asks for; others get a share
            "platform": "onnxruntime_onnx",
            "inputs": [_described(name, DATATYPES[kinds[name]]) for name in contract.names],
            "outputs": [_described(name, kind) for name, (kind, _) in OUTPUTS.items()],
        }
        return Reply(encode(said))

    async def model_ready(self, call: Call) -> Reply:
        """The model answers predictions."""
        variant = self._named(call)
        self._service.ready()
        return Reply(encode({"name": variant.spec.problem, "ready": True}))

    async def infer(self, call: Call) -> Reply:
        """Score rows, a tensor for each field of the contract."""
        call.must_be(JSON_KIND, BINARY, FORM)
        variant, contract = self._named(call), self._service.contract
        body = await self._service.body(call)
        size = _header_size(call, body)
        asked = read_json(READ, body[:size])
        names = [tensor.name for tensor in asked.inputs]
        once(names, "$.inputs[{}].name")
        faults = [contract.unknown(f"$.inputs[{n}].name") for n, name in enumerate(names) if name not in contract.types]
        if faults := faults + contract.missing(names, "$.inputs"):
            raise Refused.of(*faults[:100])
        wanted = _wanted(asked)
        columns = dict(zip(names, self._columns(asked.inputs, memoryview(body)[size:]), strict=True))
        places = {name: n for n, name in enumerate(names)}
        instances = contract.read(
            rows_of(columns),
            lambda row, name: f"$.inputs[{places[name]}].data[{row}]" if name in places else "$.inputs",
        )
        moment = self._service.moment(_moment(asked.parameters))
        answers = await self._service.core.answer(instances, moment, asked.id or call.request_id)
        return _reply(asked, variant, wanted, answers)

    def _named(self, call: Call) -> Variant:
        """Give what a path names: the model is the problem, a version a bundle that takes traffic."""
        served = self._service.watched.now
        name, wanted = call.parts["name"], call.parts.get("version")
        if name != served.champion.spec.problem:
            raise Refused(404, f"there is no model {name[:60]}: this is {served.champion.spec.problem}")
        if wanted is None or _is(served.champion, wanted):
            return served.champion
        raise Refused(404, f"no version {wanted[:64]} of {name} answers: {served.champion.digest[:12]} does")

    def _columns(self, tensors: Sequence[Tensor], binary: memoryview) -> list[list[Any]]:
        """Read each tensor's values.

        Raises:
            Refused: a tensor is not what it says, they have not one length, or bytes are left over.

        """
        columns = list[list[Any]]()
        for n, tensor in enumerate(tensors):
            place, count = f"$.inputs[{n}]", self._count(tensor, f"$.inputs[{n}].shape")
            if columns and count != len(columns[0]):
                raise Refused.of(Fault(f"{place}.shape", f"{len(columns[0])} rows, as those before", str(count)))
            size = (tensor.parameters or {}).get("binary_data_size")
            if size is None:
                columns.append(_listed(tensor, count, place))
                continue
            if not isinstance(size, int) or not 0 <= size <= len(binary) or tensor.data is not None:
                told = f"at most the {len(binary)} bytes that are left, and no data beside"
                raise Refused.of(Fault(f"{place}.parameters.binary_data_size", told, str(size)[:60]))
            columns.append(_unpacked(tensor.datatype, binary[:size], count, place))
            binary = binary[size:]
        if binary:
            raise Refused.of(Fault("$", "no bytes after the last tensor", f"{len(binary)} bytes"))
        return columns

    def _count(self, tensor: Tensor, place: str) -> int:
        """Tell how many rows a shape is of: [n], or [n,1]."""
        match tensor.shape:
            case [count] | [count, 1] if 1 <= count <= self._service.limits.rows:
                return count
        told = f"[n] or [n,1], n from 1 to {self._service.limits.rows}"
        raise Refused.of(Fault(place, told, str(tensor.shape)[:60]))


def _is(variant: Variant, wanted: str) -> bool:
    return wanted in (variant.digest, variant.digest[:12])


def _described(name: str, datatype: str) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": [-1]}


def _header_size(call: Call, body: bytes) -> int:
    """Tell how many bytes of the body are JSON."""
    given = call.headers.get(HEADER)
    if given is None:
        return len(body)
    if given.isdigit() and len(given) < 20 and int(given) <= len(body):  # noqa: PLR2004 - digits of a length
        return int(given)
    raise Refused(
        400, f"{HEADER.decode()} is the number of bytes of the body's JSON, not {given[:60].decode('latin-1')}"
    )


def _moment(parameters: Parameters) -> datetime | None:
    given = (parameters or {}).get("at")
    try:
        return msgspec.convert(given, datetime | None)
    except msgspec.ValidationError as exc:
        raise Refused.of(Fault("$.parameters.at", "a moment, by RFC 3339", str(given)[:60])) from exc


def _listed(tensor: Tensor, count: int, place: str) -> list[Any]:
    """Give a tensor's values in JSON; each of them may be in a list of its own."""
    values = tensor.data
    if values is None or tensor.datatype not in (*NUMBERS, "BYTES"):
        raise Refused.of(Fault(place, f"data, of a datatype of {', '.join((*NUMBERS, 'BYTES'))}", tensor.datatype[:60]))
    if all(isinstance(value, list) and len(value) == 1 for value in values):
        values = [value for (value,) in values]
    if len(values) != count:
        raise Refused.of(Fault(f"{place}.data", f"{count} values, as the shape says", str(len(values))))
    return values


def _unpacked(datatype: str, data: memoryview, count: int, place: str) -> list[Any]:
    """Give a tensor's values in binary."""
    if datatype == "BYTES":
        try:
            return list(_texts(data, count))
        except (error, ValueError) as exc:
            told = f"{count} texts of UTF-8, each after its length in 4 bytes"
            raise Refused.of(Fault(place, told, str(exc)[:60])) from exc
    if datatype not in NUMBERS:
        raise Refused.of(Fault(f"{place}.datatype", f"one of {', '.join((*NUMBERS, 'BYTES'))}", datatype[:60]))
    kind = np.dtype(NUMBERS[datatype])
    if len(data) != count * kind.itemsize:
        raise Refused.of(Fault(place, f"{count * kind.itemsize} bytes for {count} of {datatype}", f"{len(data)} bytes"))
    values: list[Any] = np.frombuffer(data, kind).tolist()
    return values


def _texts(data: memoryview, count: int) -> Iterable[str]:
    place = 0
    for _ in range(count):
        start = place + LENGTH.size
        place = start + LENGTH.unpack_from(data, place)[0]
        if place > len(data):
            msg = "a text ends behind the tensor's end"
            raise ValueError(msg)
        yield str(data[start:place], "utf-8")
    if place < len(data):
        msg = f"{len(data) - place} bytes more"
        raise ValueError(msg)


def _wanted(asked: Inference) -> list[Wanted]:
    """Give the outputs that are asked for: all, unless some are named."""
    if not asked.outputs:
        return [Wanted(name) for name in OUTPUTS]
    for n, output in enumerate(asked.outputs):
        if output.name not in OUTPUTS:
            raise Refused.of(Fault(f"$.outputs[{n}].name", f"one of {', '.join(OUTPUTS)}", output.name[:60]))
    once([output.name for output in asked.outputs], "$.outputs[{}].name")
    return asked.outputs


def _reply(asked: Inference, variant: Variant, wanted: Sequence[Wanted], answers: Sequence[Answer]) -> Reply:
    """Write outputs, each in JSON or in binary, as the client asked."""
    all_binary = (asked.parameters or {}).get("binary_data_output", False)
    outputs, binary = [], list[bytes]()
    for output in wanted:
        datatype, value_of = OUTPUTS[output.name]
        values = [value_of(answer) for answer in answers]
        said: dict[str, object] = {"name": output.name, "datatype": datatype, "shape": [len(values)]}
        if (output.parameters or {}).get("binary_data", all_binary):
            binary.append(_packed(datatype, values))
            said["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            said["data"] = values
        outputs.append(said)
    head: dict[str, object] = {"model_name": variant.spec.problem, "model_version": variant.digest, "outputs": outputs}
    body = encode(head | ({"id": asked.id} if asked.id is not None else {}))
    if not binary:
        return Reply(body)
    size: Header = (HEADER, b"%d" % len(body))
    return Reply(b"".join([body, *binary]), (JSON[0], BINARY.encode()), headers=(size,))


def _packed(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype != "BYTES":
        return np.array(values, NUMBERS[datatype]).tobytes()
    texts = [value.encode() for value in values]
    return b"".join(part for text in texts for part in (LENGTH.pack(len(text)), text))
