"""Whether the server lives, and whether it answers."""

from tandem.serving.http import Call, Reply, Route, encode
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
        ground = self._service.ready()
        bundle = self._service.champion.digest
        return Reply(encode({"ready": True, "bundle": bundle, "tick": ground.said}))
