"""Our own face: `/v1/...`."""

from tandem.serving import arrow
from tandem.serving.arrow import ARROW
from tandem.serving.contract import AT
from tandem.serving.http import FORM, JSON_KIND, Call, Reply, Route, encode
from tandem.serving.service import Service


class Native:
    """Predictions by JSON."""

    def __init__(self, service: Service) -> None:
        """Answer by a service."""
        self._service = service

    def routes(self) -> list[Route]:
        """Name what it answers."""
        return [Route("POST", "/v1/predict", self.predict, "predict", "predict", costly=True, plain=True)]

    async def predict(self, call: Call) -> Reply:
        """Score instances of the contract, in JSON or as an Arrow IPC stream."""
        kind, service = call.must_be(JSON_KIND, ARROW, FORM), self._service
        data = await service.body(call)
        if kind == ARROW:
            instances, at = arrow.read(data, service.contract, service.limits), call.moment("at")
        else:
            body = service.contract.body(data, AT)
            instances, at = body.instances, body.at
        answers = await service.core.answer(instances, service.moment(at), call.request_id)
        if call.prefers(ARROW, kind):
            return Reply(arrow.write(answers), arrow.KIND)
        return Reply(b'{"predictions":%b}' % encode(answers))
