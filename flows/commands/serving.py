"""Serving."""

from typing import Annotated

import typer

from flows.commands.shared import BundleOption, JsonOption, group, read, registry, say, say_json

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


@app.command()
def sync(
    *,
    watching: Annotated[bool, typer.Option("--watch", help="Again and again, until SIGTERM or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.05, metavar="SECONDS", help="Between two looks of a watch.")] = 1.0,
    refreshing: Annotated[
        bool, typer.Option("--refresh", help="With --watch: write the snapshots that fall due, too.")
    ] = False,
    attached: Annotated[bool, typer.Option("--attached", help="With --watch: until standard input ends.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let what the registry says take traffic.

    Each bundle is fetched, checked, rehearsed and laid out, and traffic changes in one step. What is refused is told,
    here and in the audit, and what was served before goes on; exits with 1 then.

    With --watch it is the platform's process beside a server, which also answers what a score is made of.

    Example: tandem sync
    """
    from tandem import log  # noqa: PLC0415

    log.set_up()
    from flows.sync import sync as flow  # noqa: PLC0415

    params, settings = read()
    if watching:
        from flows.platform import Supply, supply  # noqa: PLC0415

        supply(registry(), params, settings, Supply(every, refreshing, attached), say)
        return
    found = flow(registry(), settings)
    say_json(found.facts()) if as_json else say(found.line)
    if found.reason:
        raise typer.Exit(1)
