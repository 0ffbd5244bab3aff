"""`genkit explore [RUN]`: a page to walk through a latent space, or the same as one file."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from genkit.cli.command import PathType
from genkit.cli.given import ModelCommand, Told, apply_settings, class_option, condition_option, set_option
from genkit.cli.output import emit, json_option
from genkit.cli.shared import DEVICE_HELP, RUN_HELP, checkpoint_option, load_run, loading, looked_up
from genkit.ending import welcome
from genkit.errors import UsageError

if TYPE_CHECKING:
    from genkit.contract import GenerativeModel
    from genkit.explore.server import Server
    from genkit.explore.space import Space
    from genkit.keep.opened import Opened

logger = logging.getLogger("genkit")


@click.command(cls=ModelCommand, epilog=RUN_HELP)
@click.argument("run", required=False)
@checkpoint_option
@click.option(
    "--method",
    type=click.Choice(["pca", "tsne"]),
    default="pca",
    show_default=True,
    help="How codes become a map; a 2-D latent space is shown as it is.",
)
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True, help="Images.")
@click.option(
    "--limit", type=click.IntRange(3, 100_000), default=10_000, show_default=True, help="Points on the map at most."
)
@click.option("--dataset", metavar="NAME|PATH", help="Other images than those that the run was trained on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="On 127.0.0.1.  [default: one that is free]")
@click.option("--no-browser", is_flag=True, help="Print the address, and leave it to you to open it.")
@click.option(
    "--export",
    type=PathType(dir_okay=False),
    metavar="FILE.html",
    help="Write the page as one file that needs no server, and end.",
)
@class_option
@condition_option
@set_option
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@json_option
def explore(
    run: str | None,
    method: Any,
    split: Any,
    limit: int,
    dataset: str | None,
    port: int,
    no_browser: bool,
    export: Path | None,
    condition: str | None,
    settings: tuple[str, ...],
    device: str,
    as_json: bool,
    **asked: Any,
) -> None:
    """Walk through a model's latent space in a browser.

    Prints the address of a page that this process serves to this machine alone, and opens it; Ctrl-C ends it. Drag
    over the map of the test images' codes, and the model draws what lies under the cursor; walk, calculate, move
    single dimensions, or drop an image of your own. Of a model that only encodes there is the map alone. Of a model
    whose decoder takes a class or attributes, the page lets you choose them, beginning with --class or --condition;
    a file has those alone.
    """
    found = looked_up(run, dataset)
    with loading():
        from genkit.contract import ability
        from genkit.explore import server
        from genkit.explore.bare import BareSpace
        from genkit.explore.space import Space

    if export is not None:
        from genkit.explore import stored

        stored.check(export)  # before what takes long
    opened = load_run(found, device)
    about, bare = opened.description, ability.encodes(opened.model) and not ability.generates(opened.model)
    if bare and export is not None:
        raise UsageError(
            f"--export: {opened.name} is a {opened.kind}, which makes no images for a file to hold; genkit embed draws "
            "its map as a picture"
        )
    model = cast("GenerativeModel", opened.model) if bare else opened.generator
    told = Told(opened, asked["class"], condition)
    apply_settings(opened, settings)
    load = functools.cache(lambda: opened.dataset(dataset))
    names = (about.data.dataset, about.classes, about.attributes)
    if dataset is not None:
        names = (load().name, load().classes, load().attributes)
    first = told.of_seeds([0])
    space = functools.partial(
        BareSpace if bare else Space,
        model,
        opened.name,
        load,
        names,
        split=split,
        method=method,
        limit=limit,
        condition=first,
        form=opened.form,
    )
    if export is not None:
        write(space(), opened, export, as_json)
        return
    with server.listen(port) as listening:
        serve(server.Server(space(), listening), opened, no_browser, as_json)


def serve(server: Server, opened: Opened, no_browser: bool, as_json: bool) -> None:
    """The page to this machine, until the process is interrupted."""
    address = server.desk.address
    emit({"checkpoint": opened.checkpoint.path, "address": address}, [address], as_json)
    sys.stdout.flush()
    if not no_browser:
        show(address, server.port)
    logger.info("Ctrl-C ends it")
    with welcome(signal.SIGINT):
        server.serve_forever()


def write(space: Space, opened: Opened, path: Path, as_json: bool) -> None:
    """The page as a file."""
    from genkit.explore import stored

    written = stored.write(space, path, checkpoint=opened.checkpoint.path.name)
    result = {
        "checkpoint": opened.checkpoint.path,
        "mode": written.mode,
        "bytes": written.size,
        "difference": written.difference,
        "files": {"page": path},
    }
    emit(result, [str(path)], as_json)


def show(address: str, port: int) -> None:
    """Open the address where there is a display; say how to get at it where there is none."""
    graphical = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if not graphical:
        logger.info("there is no display here; to look from another machine: ssh -L %d:127.0.0.1:%d HOST", port, port)
        return
    import webbrowser

    # Some browsers keep their caller waiting, which is to answer them meanwhile.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
