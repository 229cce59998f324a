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
) -> None:
    """Answer predictions over HTTP.

    In the foreground, until SIGTERM or Ctrl-C.

    Example: tandem serve --port 9000
    """
    from flows.serve import serve as flow  # noqa: PLC0415

    params, settings = read()
    flow(bundle, params, settings, host, port)
