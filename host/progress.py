"""What the artist sees while a run goes on, and their way to stop it."""

from collections.abc import Callable

import comfy.model_management
import comfy.utils
from comfy_api import feature_flags
from comfy_api.latest import ui
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL import Image
from torch import Tensor

try:
    from protocol import BinaryEventTypes
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


def previews_reach(node_id: str | None) -> bool:
    """Whether a browser has queued the run and takes previews for a node of the graph, not only for the running one."""
    server = getattr(PromptServer, "instance", None)
    if server is None or node_id is None or server.client_id is None:
        return False
    return feature_flags.supports_feature(server.sockets_metadata, server.client_id, "supports_preview_metadata")


def preview_on_node(picture: Tensor, node_id: str) -> None:
    """Shows a picture [H, W, 3] in 0..1 on a node of the graph while it lasts, where `previews_reach` it. The server's
    own thread packs and sends it.
    """
    state = get_progress_state()
    graph = state.dynprompt
    where = {
        "node_id": node_id,
        "prompt_id": state.prompt_id,
        "display_node_id": graph.get_display_node_id(node_id),
        "parent_node_id": graph.get_parent_node_id(node_id),
        "real_node_id": graph.get_real_node_id(node_id),
    }
    server = PromptServer.instance
    server.send_sync(
        BinaryEventTypes.PREVIEW_IMAGE_WITH_METADATA, (("JPEG", _image(picture), None), where), server.client_id
    )


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
        bar.update_absolute(done, total, None if picture is None else ("JPEG", _image(picture), 512))

    return told


def _image(picture: Tensor) -> Image.Image:
    return Image.fromarray((picture * 255).round().byte().cpu().numpy())


def queue_entry() -> str | None:
    """The id of the queue entry that is running; None where a script calls the host's classes itself."""
    context = get_executing_context()
    return context.prompt_id if context is not None else None


def stop_if_interrupted() -> None:
    """Raises the host's own interruption if the artist pressed Cancel; it must pass through everything of ours."""
    comfy.model_management.throw_exception_if_processing_interrupted()
