"""What can be asked, written down as OpenAPI from the bundle's contract, and a page that shows it without a network."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import msgspec

from tandem.serving.arrow import ARROW
from tandem.serving.contract import EPOCH, MICROSECOND, Limits
from tandem.serving.core import Answer
from tandem.serving.explain import MOST, TOP, Explanation
from tandem.serving.http import HTML, JSON_KIND, Call, Reply, Route, encode
from tandem.serving.invocations import CSV, FORMS
from tandem.serving.refused import Fault
from tandem.serving.service import Service
from tandem.serving.v2 import BINARY, DATATYPES, OUTPUTS
from tandem.serving.variant import Golden, Variant

PAGE = Path(__file__).with_name("docs.html")
SAFE = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
)
Json = dict[str, Any]
MOMENT: Json = {"type": ["string", "null"], "format": "date-time", "description": "the moment it is asked at; now"}
WORDS: Json = {"type": "array", "items": {"type": "string"}}


class OpenApi:
    """Tells what the routes of all faces take and give."""

    def __init__(self, service: Service, routes: Sequence[Route]) -> None:
        """Write nothing yet."""
        self._service, self._routes = service, [*routes, *self.routes()]
        self._written: dict[str, bytes] = {}

    def routes(self) -> list[Route]:
        """Name what it answers."""
        return [
            Route("GET", "/openapi.json", self.document, "openapi", "read"),
            Route("GET", "/docs", self.page, "docs", "health"),
        ]

    async def document(self, _: Call) -> Reply:
        """All of this, as OpenAPI 3.1."""
        champion = self._service.champion
        if champion.digest not in self._written:
            service = self._service
            said = document(champion, self._routes, service.limits, any_moment=service.any_moment)
            self._written = {champion.digest: encode(said)}
        return Reply(self._written[champion.digest])

    async def page(self, _: Call) -> Reply:
        """A page that shows all of this, and sends requests."""
        return Reply(PAGE.read_bytes(), HTML, headers=(SAFE,))


def document(variant: Variant, routes: Sequence[Route], limits: Limits, *, any_moment: bool = False) -> Json:
    """Write what some routes take and give, when a bundle answers."""
    spec, example = variant.spec, example_of(variant)
    bodies, paths = _bodies(variant, example, limits, {"at": MOMENT} if any_moment else {}), dict[str, Json]()
    named = {"name": [spec.problem], "version": [variant.digest, variant.digest[:12]]}
    for route in routes:
        told = _operation(route, named, bodies.get(route.path.replace("/versions/{version}", "")))
        paths.setdefault(route.path, {})[route.method.lower()] = told
    return {
        "openapi": "3.1.0",
        "info": {"title": spec.problem, "description": spec.question, "version": version("tandem")},
        "paths": paths,
        "components": {
            "schemas": {
                "Instance": _instance(variant, limits) | {"examples": [example]},
                "Predictions": _object(predictions={"type": "array", "items": _ref("Answer")}),
                "Explanations": _object(explanations={"type": "array", "items": _ref("Explanation")}),
                **_schemas(Answer, Explanation, Fault),
                "Problem": _object(
                    title={"type": "string"},
                    status={"type": "integer"},
                    detail={"type": "string"},
                    errors={"type": "array", "items": _ref("Fault")},
                    error={"type": "string", "description": "the detail, as the Open Inference Protocol calls it"},
                    optional=("errors", "error"),
                ),
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def example_of(variant: Variant) -> Json:
    """Give the golden request of which the most is known; no person's."""
    kept = msgspec.json.decode(variant.bundle.text("golden.json"), type=list[Golden])
    fields = max((golden.fields for golden in kept), key=lambda values: sum(value is not None for value in values))
    kinds = variant.spec.fields
    known = {name: value for name, value in zip(kinds, fields, strict=True) if name in variant.contract.types}
    return {name: _written(value) if kinds[name] == "TIMESTAMP" else value for name, value in known.items()}


def _written(instant: object) -> str | None:
    return None if instant is None else (EPOCH + cast("int", instant) * MICROSECOND).isoformat()


def _instance(variant: Variant, limits: Limits) -> Json:
    """Give the contract as it is held: no text is longer than the limits say."""
    schema = {name: value for name, value in variant.contract.schema.items() if name != "$schema"}
    properties = {}
    for name, field in schema["properties"].items():
        text = "string" in field["type"] and "format" not in field
        properties[name] = ({"maxLength": limits.text} if text else {}) | field
    return schema | {"properties": properties}


def _schemas(*structs: type[msgspec.Struct]) -> Json:
    _, found = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    return found


def _bodies(variant: Variant, example: Json, limits: Limits, at: Json) -> dict[str, Json]:
    """Give what each path takes and gives, as `requestBody` and `responses`."""
    contract, kinds = variant.contract, variant.spec.fields
    rows: Json = {"type": "array", "items": _ref("Instance"), "minItems": 1, "maxItems": limits.rows}
    instances = _object(instances=rows, **at, optional=("at",))
    stream: Json = {"type": "string", "format": "binary", "description": "an Arrow IPC stream"}
    predict = _takes({JSON_KIND: (instances, {"instances": [example]}), ARROW: (stream, None)})
    predict["responses"] = {
        "200": _gives("answers, in the order of the instances", **{JSON_KIND: _ref("Predictions"), ARROW: stream})
    }
    forms = _forms(contract.names, rows, _object(**at, optional=("at",)))
    tensors = [
        {"name": name, "shape": [1], "datatype": DATATYPES[kinds[name]], "data": [value]}
        for name, value in example.items()
    ]
    table = "\n".join(",".join("" if v is None else str(v) for v in line) for line in (example, example.values()))
    scored = _takes(
        {JSON_KIND: ({"oneOf": forms}, {FORMS[1]: [example]}), CSV: ({"type": "string"}, table)},
    )
    scored["responses"] = {"200": _gives("answers, in the order of the rows", **{JSON_KIND: _ref("Predictions")})}
    return {
        "/v1/predict": predict,
        "/v1/explain": _explained(rows | {"maxItems": MOST}, example, at),
        "/v1/feedback": _labels(variant, example, limits),
        "/invocations": scored,
        "/v2/models/{name}/infer": _inference(contract.names, tensors),
    }


def _explained(rows: Json, example: Json, at: Json) -> Json:
    """Give what is asked to be explained."""
    top: Json = {"type": "integer", "minimum": 1, "default": TOP, "description": "so many inputs are named of each"}
    asked = _object(instances=rows, top=top, **at, optional=("top", "at"))
    made = _takes({JSON_KIND: (asked, {"instances": [example], "top": 3})})
    said = "what each score is made of, in the order of the instances"
    return made | {"responses": {"200": _gives(said, **{JSON_KIND: _ref("Explanations")})}}


def _labels(variant: Variant, example: Json, limits: Limits) -> Json:
    """Give what came true, told by a prediction's id or by the request's own keys."""
    names, fields = variant.spec.keys, _instance(variant, limits)["properties"]
    label: Json = {"type": "boolean"}
    known: Json = {"type": ["string", "null"], "format": "date-time", "description": "when it could first be known"}
    own = _object(**{name: fields[name] for name in names})
    told = [
        _object(label=label, id={"type": "string"}, known_at=known, optional=("known_at",)),
        _object(label=label, keys=own, known_at=known, optional=("known_at",)),
    ]
    labels = _object(labels={"type": "array", "items": {"oneOf": told}, "minItems": 1, "maxItems": limits.rows})
    made = _takes({JSON_KIND: (labels, {"labels": [{"keys": {n: example[n] for n in names}, "label": True}]})})
    taken = _object(taken={"type": "integer", "description": "labels that were recorded"})
    return made | {"responses": {"200": _gives("all of them, or none", **{JSON_KIND: taken})}}


def _forms(names: Sequence[str], rows: Json, params: Json) -> list[Json]:
    """Give MLflow's four forms."""
    anything: Json = {"type": "array", "items": {}}
    columns: Json = {"type": "array", "items": {"enum": list(names)}, "uniqueItems": True}
    split = _object(columns=columns, data={"type": "array", "items": anything}, index=anything, optional=("index",))
    by_name: Json = {"type": "object", "properties": dict.fromkeys(names, anything), "additionalProperties": False}
    given = {FORMS[0]: split, FORMS[1]: rows, FORMS[2]: rows, FORMS[3]: {"oneOf": [by_name, rows]}}
    return [_object(**{form: schema, "params": params}, optional=("params",)) for form, schema in given.items()]


def _inference(names: Sequence[str], tensors: list[Json]) -> Json:
    """Give the protocol's own form."""
    parameters: Json = {"type": ["object", "null"]}
    tensor = _object(
        name={"enum": list(names)},
        shape={"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2},
        datatype={"type": "string"},
        parameters=parameters,
        data={"type": "array", "items": {}},
        optional=("parameters", "data"),
    )
    wanted = _object(name={"enum": list(OUTPUTS)}, parameters=parameters, optional=("parameters",))
    asked = _object(
        inputs={"type": "array", "items": tensor},
        id={"type": ["string", "null"]},
        model_name={"type": ["string", "null"]},
        model_version={"type": ["string", "null"]},
        parameters=parameters,
        outputs={"type": ["array", "null"], "items": wanted},
        optional=("id", "model_name", "model_version", "parameters", "outputs"),
    )
    answer: Json = {"type": "object", "required": ["model_name", "model_version", "outputs"]}
    binary: Json = {"type": "string", "format": "binary", "description": "JSON, and after it binary tensors"}
    made = _takes({JSON_KIND: (asked, {"inputs": tensors}), BINARY: (binary, None)})
    made["responses"] = {"200": _gives("tensors, the score first", **{JSON_KIND: answer, BINARY: binary})}
    return made


def _operation(route: Route, named: dict[str, list[str]], body: Json | None) -> Json:
    """Tell of one route: what its handler promises, and what is refused."""
    said: Json = {"operationId": f"{route.name}_{len(re.findall('{', route.path))}", "summary": _summary(route)}
    said["tags"] = [route.path.split("/")[1]]
    if names := re.findall(r"{(\w+)}", route.path):
        said["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": _part(named.get(name))} for name in names
        ]
    if route.scope != "health":
        said["security"] = [{}, {"key": []}]
    said |= body or {"responses": {"200": {"description": "as promised"}}}
    if route.method == "POST":
        said.setdefault("requestBody", {"content": {JSON_KIND: {"schema": {"type": "object"}}}})
    problem = {"description": "refused, and why", "content": {"application/problem+json": {"schema": _ref("Problem")}}}
    return said | {"responses": said["responses"] | {"default": problem}}


def _part(known: list[str] | None) -> Json:
    return {"enum": known} if known else {"type": "string", "minLength": 1, "maxLength": 256}


def _summary(route: Route) -> str:
    return (route.answer.__doc__ or route.name).splitlines()[0].rstrip(".")


def _takes(forms: dict[str, tuple[Json, object]]) -> Json:
    content = {kind: {"schema": schema} | ({"example": e} if e else {}) for kind, (schema, e) in forms.items()}
    return {"requestBody": {"required": True, "content": content}}


def _gives(description: str, **schemas: Json) -> Json:
    return {"description": description, "content": {kind: {"schema": schema} for kind, schema in schemas.items()}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(optional: Sequence[str] = (), **properties: Json) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
