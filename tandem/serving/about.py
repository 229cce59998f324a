"""What is served, told: `GET /v1/model`."""

from tandem.serving.http import Call, Reply, Route, encode
from tandem.serving.service import Service


class About:
    """Tells of the model that answers."""

    def __init__(self, service: Service) -> None:
        """Tell of a service's."""
        self._service = service

    def routes(self) -> list[Route]:
        """Name what it answers."""
        return [Route("GET", "/v1/model", self.model, "model", "read")]

    async def model(self, _: Call) -> Reply:
        """Tell what the model is asked, what it takes, what follows from it, and who answers."""
        served, champion = self._service.watched.now, self._service.champion
        traffic, schema = served.traffic, champion.contract.schema
        said = {
            "name": champion.spec.problem,
            "question": champion.spec.question,
            "versions": traffic.digests,
            "traffic": {
                "generation": traffic.generation,
                "share": traffic.share if served.challenger else 0.0,
                "key": [champion.contract.names[place] for place in served.key],
                "reason": traffic.reason,
                "by": traffic.by,
            },
            "threshold": champion.threshold,
            "actions": [champion.otherwise, champion.act],
            "tick": self._service.watched.ground(self._service.core.now()).said,
            "fields": {name: schema["properties"][name] for name in champion.contract.names},
            "required": schema["required"],
            "card": champion.bundle.text("card.md"),
        }
        return Reply(encode(said))
