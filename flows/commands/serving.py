"""Serving."""

from typing import Annotated

import typer

from flows.commands.shared import BundleOption, group, read

app = group()


@app.command()
def serve(
    bundle: BundleOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="PORT", min=0, max=65535, help="Port to listen on.")] = 8080,
    workers: Annotated[int, typer.Option(envvar="WORKERS", min=1, help="Processes that share the port.")] = 1,
) -> None:
    """Answer predictions over HTTP.

    In the foreground, until SIGTERM or Ctrl-C. Serves what the registry says takes traffic, or the problem's own
    bundle where nothing was ever published.

    Example: tandem serve --port 9000 --workers 2
    """
    from flows.serve import serve as flow  # noqa: PLC0415

    params, settings = read()
    raise typer.Exit(flow(bundle, params, settings, (host, port), workers))
