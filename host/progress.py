"""What the artist sees while a run goes on, and their way to stop it."""

import comfy.model_management

try:
    from server import PromptServer
except ImportError:  # the host's classes are used without its server, as in the benchmarks
    PromptServer = None


def show_on_node(text: str, node_id: str | None) -> None:
    """Writes a line of text on a node of the graph, where a server runs."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def stop_if_interrupted() -> None:
    """Raises the host's own interruption if the artist pressed Cancel; it must pass through everything of ours."""
    comfy.model_management.throw_exception_if_processing_interrupted()
