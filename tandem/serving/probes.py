"""Whether the server lives, and whether it answers."""

from tandem.serving.http import Call, Reply, Route, encode
from tandem.serving.refused import RETRY, Refused
from tandem.serving.service import Service


class Probes:
    """What a machine asks before it sends anybody here."""

    def __init__(self, service: Service) -> None:
        """Ask a service."""
        self._service = service

    def routes(self) -> list[Route]:
        """Name what it answers."""
        return [
            Route("GET", "/livez", self.live, "livez", "health"),
            Route("GET", "/readyz", self.ready, "readyz", "health"),
        ]

    async def live(self, _: Call) -> Reply:
        """It can answer this."""
        return Reply(b'{"live":true}')

    async def ready(self, _: Call) -> Reply:
        """It answers predictions, and is not about to leave."""
        if self._service.leaving:
            raise Refused(503, "leaving: answers go on, but send nobody new", RETRY)
        watched = self._service.watched
        ground = watched.ground(self._service.core.now())
        return Reply(encode({"ready": True, "bundle": watched.now.champion.digest, "tick": ground.said}))
