"""ComfyUI's page in a real Chromium, as an artist has it in front of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from live_server import Server
from patience import Patience
from playwright.sync_api import Page, sync_playwright
from prompt_fidelity.tools.chromium import get_chromium

# A page that keeps to itself: no updates, no synchronisation, no look-ups.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # otherwise the first visit opens the templates over everything
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Graph.CanvasMenu": False,
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
}
PAGE_SECONDS = 600  # for what the browser does at once unless it hangs; what takes its time has `until`
TEXT_WIDGET = "prompt_fidelity_text"  # where web/text.js shows what a node reports in words


class ComfyPage:
    """The page, once it has started. `errors`: what its scripts threw; `elsewhere`: requests to other servers."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page, self.server, url = page, server, server.url
        page.set_default_timeout(PAGE_SECONDS * 1000)
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._note(request.url, url))
        page.request.post(f"{url}/api/settings", data=SETTINGS)
        page.goto(url)
        self._wait_for_start()

    def _wait_for_start(self) -> None:
        # The page opens a graph of its own at the end of its start, which would come over ours.
        opened = "window.app.extensionManager?.workflow?.activeWorkflow && window.app.graph?.nodes.length"
        started = f"() => Boolean(window.app?.vueAppReady && {opened})"
        self.until(lambda: self.page.evaluate(started), "the page's start")

    def reload(self) -> None:
        """Press F5, a moment after whatever was done last: the page keeps its graph half a second later."""
        self.page.wait_for_timeout(1500)
        self.page.reload()
        self._wait_for_start()

    def _note(self, address: str, own: str) -> None:
        if address.startswith("http") and not address.startswith(own):
            self.elsewhere.append(address)

    def load_template(self, pack: str, name: str) -> dict:
        """Open a workflow the way the template browser does; returns the file."""
        address = f"/api/workflow_templates/{pack}/{name}.json"
        load = "async ([address, name]) => { const file = await (await fetch(address)).json();"
        return self.page.evaluate(
            load + "await app.loadGraphData(file, true, true, name); return file }", [address, name]
        )

    def unknown_nodes(self) -> list[str]:
        return self.page.evaluate("app.graph.nodes.map(n => n.type).filter(t => !LiteGraph.registered_node_types[t])")

    def wrong_widgets(self) -> list[str]:
        """Widgets that hold none of their choices, or no number where they should."""
        return self.page.evaluate(
            """app.graph.nodes.flatMap(node => (node.widgets ?? []).filter(widget => {
                const choices = widget.options?.values
                if (widget.type === 'combo' && Array.isArray(choices)) return !choices.includes(widget.value)
                return widget.type === 'number' && !Number.isFinite(widget.value)
            }).map(widget => `${node.type}.${widget.name}: ${widget.value}`))"""
        )

    def api_prompt(self) -> dict:
        """What the page would queue, in API format."""
        prompt = self.page.evaluate("app.graphToPrompt().then(prompt => prompt.output)")
        return {node: {key: what[key] for key in ("class_type", "inputs")} for node, what in prompt.items()}

    def until(self, condition, what: str = "the page", patience: Patience | None = None):
        """What `condition()` gives as soon as it is true, asked for as long as page and server are alive and at it.

        The page goes on in between.
        """
        patience = patience or Patience(what)
        while not (found := condition()):
            patience.check()
            self.page.wait_for_timeout(100)
        return found

    def queue(self, timeout: float = 120) -> None:
        """Press Run and wait for the end. Raises AssertionError with the host's words if it fails.

        `timeout` is in seconds of the server's work.
        """
        self.page.evaluate(
            """() => { window.ended = null
            for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
                app.api.addEventListener(kind, event => { window.ended = [kind, event.detail] }, { once: true }) }"""
        )
        self.page.evaluate("app.queuePrompt(0)")
        refused = self.page.evaluate("app.lastNodeErrors")
        assert not refused, refused
        patience = self.server.patience("a prompt queued by the page", work=timeout)
        kind, detail = self.until(lambda: self.page.evaluate("window.ended"), patience=patience)
        assert kind == "execution_success", detail

    def texts(self) -> dict[str, str]:
        """What the nodes report in words, by node type."""
        return self.page.evaluate(
            """name => Object.fromEntries(app.graph.nodes.flatMap(node => (node.widgets ?? [])
                .filter(widget => widget.name === name).map(widget => [node.type, widget.value])))""",
            TEXT_WIDGET,
        )

    def wait_for_text(self, kind: str, part: str) -> str:
        """What the node of a type reports, as soon as `part` is in it: words come by websocket, a
        moment after the run.
        """
        self.until(lambda: part in (self.texts().get(kind) or ""), f'"{part}" on {kind}')
        return self.texts()[kind]

    def boxes_on_canvas(self, node: int) -> list[dict]:
        """The boxes that a Create Bounding Boxes node would send."""
        return self.api_prompt()[str(node)]["inputs"]["editor_state"]["__value__"]

    def pictures(self) -> dict[str, int]:
        """How many pictures each node shows, by node type."""
        return self.page.evaluate(
            """Object.fromEntries(app.graph.nodes.map(
                node => [node.type, app.nodeOutputs[node.id]?.images?.length ?? 0]))"""
        )

    def settle(self) -> None:
        """Give the page the moment in which nodes take their sizes."""
        self.page.wait_for_timeout(500)

    def shown_on(self, kind: str) -> dict:
        """What Nodes 2.0 draws on the first node of a type: {texts: of its text fields; pictures: how many}."""
        return self.page.evaluate(
            """kind => {
                const {id} = app.graph.nodes.find(node => node.type === kind)
                const drawn = document.querySelector(`[data-node-id='${id}']`)
                return { texts: [...drawn.querySelectorAll('textarea')].map(field => field.value),
                    pictures: [...drawn.querySelectorAll('img')].filter(img => img.naturalWidth).length } }""",
            kind,
        )

    def load_api(self, prompt: dict) -> None:
        """Open a graph in API format, as by dropping its file on the page."""
        self.page.evaluate("prompt => app.loadApiJson(prompt, 'of a test')", prompt)

    def show_whole(self, margin: int = 40) -> None:
        """Make the window as large as the graph at its own size, so that every node is in view."""
        left, top, right, bottom = self.page.evaluate(
            """() => app.graph.nodes.map(node => [...node.boundingRect]).reduce(
                (all, [x, y, width, height]) => [Math.min(all[0], x), Math.min(all[1], y),
                    Math.max(all[2], x + width), Math.max(all[3], y + height)],
                [Infinity, Infinity, -Infinity, -Infinity])"""
        )
        self.page.set_viewport_size({"width": int(right - left) + 2 * margin, "height": int(bottom - top) + 2 * margin})
        self.page.evaluate(
            "([x, y]) => { app.canvas.ds.scale = 1; app.canvas.ds.offset = [x, y]; app.canvas.setDirty(true, true) }",
            [margin - left, margin - top],
        )
        self.page.wait_for_timeout(1000)

    def screenshot(self, path: Path) -> None:
        """The whole graph and nothing around it, for the README and the templates' thumbnails."""
        self._toggle_focus()
        self.show_whole()
        self.page.screenshot(path=path)
        self._toggle_focus()

    def drag_on_canvas(self, node: int, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag with the mouse on the canvas that a node holds; places are fractions of it. Needs `nodes_2`."""
        self._toggle_focus()
        self.show_whole()
        box = self.page.locator(f"[data-node-id='{node}'] canvas").bounding_box()
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (begin, end)]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        self.page.mouse.move(*at[1], steps=8)
        self.page.wait_for_timeout(300)  # the canvas follows the mouse frame by frame
        self.page.mouse.up()
        self._toggle_focus()

    def nodes_2(self, on: bool) -> None:
        """Switch ComfyUI's newer way of drawing nodes on or off; some of the host's nodes work only there."""
        self.page.evaluate("on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", on)
        self.page.wait_for_timeout(2000)

    def speak(self, language: str) -> None:
        """Choose the page's language, such as zh, and wait for the graph, which the page opens anew."""
        changes = self.page.evaluate(
            """one => { const settings = app.extensionManager.setting
            if (settings.get('Comfy.Locale') === one) return false
            window.spoken = app.graph.nodes[0]
            settings.set('Comfy.Locale', one)
            return true }""",
            language,
        )
        if changes:
            self.until(lambda: self.page.evaluate("app.graph.nodes[0] !== window.spoken"), "a page in another language")

    def _toggle_focus(self) -> None:
        self.page.evaluate("app.extensionManager.command.execute('Workspace.ToggleFocusMode')")


@contextmanager
def open_page(server: Server, width: int = 1600, height: int = 1000) -> Iterator[ComfyPage]:
    """A page of its own in a Chromium of its own."""
    chromium = get_chromium()
    variables = {**os.environ, **chromium.variables}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.program, env=variables, args=FLAGS)
        try:
            yield ComfyPage(browser.new_page(viewport={"width": width, "height": height}), server)
        finally:
            browser.close()
