"""What the artist sees while a run goes on, and their way to stop it."""

from collections.abc import Callable

import comfy.model_management
import comfy.utils
from comfy_api.latest import ui
from comfy_execution.utils import get_executing_context
from PIL import Image
from torch import Tensor

try:
    from server import PromptServer
except ImportError:  # the host's classes are used without its server, as in the benchmarks
    PromptServer = None


def show_on_node(text: str, node_id: str | None) -> None:
    """Writes a line of text on a node of the graph while it lasts, where a server runs; to the browser that queued the
    run alone, as node ids mean other nodes elsewhere. What is to stay goes with the node's output (`with_text`).
    """
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None and server.client_id is not None:
        server.send_progress_text(text, node_id, server.client_id)


def with_text(text: str, images: ui.PreviewImage | None = None) -> dict:
    """A node's output for the page: words, kept with its lines, and pictures. The host keeps it with the run: cached
    runs and the queue's history bring it back. web/text.js draws it on the node.
    """
    shown = ui.PreviewText(text).as_dict()
    return {**images.as_dict(), **shown} if images is not None else shown


def progress_bar() -> Callable[[int, int, Tensor | None], None]:
    """The running node's own bar: told(done, total, picture), the picture [H, W, 3] in 0..1 shown
    on the node, or None.
    """
    bar = comfy.utils.ProgressBar(1)

    def told(done: int, total: int, picture: Tensor | None) -> None:
        shown = (
            None if picture is None else ("JPEG", Image.fromarray((picture * 255).round().byte().cpu().numpy()), 512)
        )
        bar.update_absolute(done, total, shown)

    return told


def queue_entry() -> str | None:
    """The id of the queue entry that is running; None where a script calls the host's classes itself."""
    context = get_executing_context()
    return context.prompt_id if context is not None else None


def stop_if_interrupted() -> None:
    """Raises the host's own interruption if the artist pressed Cancel; it must pass through everything of ours."""
    comfy.model_management.throw_exception_if_processing_interrupted()
