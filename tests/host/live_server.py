"""The real server as a process of its own, with the pack in it: what an artist runs, driven over HTTP and websocket."""

import asyncio
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from patience import Patience
from prompt_fidelity.tools import ROOT
from prompt_fidelity.tools.server import pack_name, private_base, server_arguments

ANSWER_SECONDS = 30  # after which a request is made again, while the server is alive and works


@dataclass
class Run:
    """One executed prompt: its id, the messages that came over the websocket, and each node's outputs for the page."""

    prompt_id: str
    messages: list[dict]
    outputs: dict[str, dict] = field(default_factory=dict)

    def of(self, kind: str) -> list[dict]:
        return [message["data"] for message in self.messages if message["type"] == kind]


class Server:
    """Talks to a server that is up."""

    def __init__(self, port: int, log: Path, process: subprocess.Popen | None = None) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self.process = process

    def patience(self, what: str, **options) -> Patience:
        """For a wait that ends when the server does, or stands still."""
        return Patience(what, self.process, log=self.log, **options)

    def get(self, path: str) -> bytes:
        return self._asked(path)[1]

    def get_json(self, path: str):
        return json.loads(self.get(path))

    def status(self, path: str) -> int:
        try:
            return self._asked(path)[0]
        except urllib.error.HTTPError as error:
            return error.code

    def post(self, path: str, content: dict) -> None:
        """For requests that may be made twice."""
        self._asked(path, json.dumps(content).encode())

    def _asked(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        patience = self.patience(path)
        while True:
            try:
                with urllib.request.urlopen(self.url + path, body, timeout=ANSWER_SECONDS) as answer:
                    return answer.status, answer.read()
            except TimeoutError:
                patience.check()

    def run(self, prompt: dict, timeout: float = 120, workflow: dict | None = None) -> Run:
        """Queue a prompt (API format) and follow it to its end. Raises AssertionError with the host's own words.

        `timeout` is in seconds of the server's work, not of the clock: on a busy machine they take longer.
        """
        with ThreadPoolExecutor(1) as thread:  # of its own, since an open page keeps a loop in this one
            return thread.submit(asyncio.run, self._run(prompt, workflow, timeout)).result()

    async def _run(self, prompt: dict, workflow: dict | None, timeout: float) -> Run:
        import aiohttp

        body = {"prompt": prompt, "client_id": "test", "extra_data": {"extra_pnginfo": {"workflow": workflow or {}}}}
        patience = self.patience("a prompt", work=timeout)
        async with aiohttp.ClientSession(self.url) as session, session.ws_connect("/ws?clientId=test") as socket_:
            async with session.post("/prompt", json=body) as answer:
                reply = await answer.json()
            assert answer.status == 200, f"the server refused the prompt: {json.dumps(reply, indent=1)}"
            run = Run(reply["prompt_id"], [])
            async for message in messages(socket_, patience):
                if message.type != aiohttp.WSMsgType.TEXT:
                    continue  # pictures of previews
                run.messages.append(json.loads(message.data))
                kind, data = run.messages[-1]["type"], run.messages[-1].get("data", {})
                if data.get("prompt_id") != run.prompt_id:
                    continue
                assert kind not in ("execution_error", "execution_interrupted"), describe(data)
                if kind == "executing" and data["node"] is None:  # sent after the outputs are in the history
                    break
            async with session.get(f"/history/{run.prompt_id}") as answer:
                run.outputs = (await answer.json())[run.prompt_id]["outputs"]
        return run

    def forget(self) -> None:
        """Drop the cached outputs of earlier runs, so that every node executes again."""
        self.post("/free", {"free_memory": True})
        # Done by the thread that runs the prompts, after one and before the next: so after this one.
        self.run({
            "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        })  # fmt: skip

    def image(self, entry: dict) -> bytes:
        """The file that an output's entry {filename, subfolder, type} names."""
        return self.get(f"/view?filename={entry['filename']}&subfolder={entry['subfolder']}&type={entry['type']}")


async def messages(socket_, patience: Patience) -> AsyncIterator:
    """What comes over a websocket, as long as there is hope. Each message is a sign of progress."""
    while not socket_.closed:
        try:
            message = await socket_.receive(timeout=1)
        except asyncio.TimeoutError:
            patience.check()
            continue
        patience.moved()
        patience.check()
        yield message
    raise AssertionError(f"the server closed the connection while a test was waiting for {patience.what}")


def describe(error: dict) -> str:
    where = f"{error.get('node_type')} (node {error.get('node_id')})"
    return f"{where}: {error.get('exception_message')}\n{''.join(error.get('traceback') or [])}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no server is left when the tests are killed


def start(host: Path, folder: Path, pack: Path = ROOT) -> tuple[subprocess.Popen, Server]:
    """Start a server that writes only below `folder`, and wait until it answers. Raises AssertionError with its log."""
    port, log = free_port(), folder / "server.log"
    base = private_base(folder / "base", host, pack)
    command = [sys.executable, *server_arguments(host, base, folder / "output", port, cpu=True)]
    (folder / "output").mkdir()
    with open(log, "w") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            preexec_fn=end_with_parent if os.name == "posix" else None,
        )
    server = Server(port, log, process)
    try:
        server.patience("the server's start").until(lambda: answers(server), pause=0.2)
    except BaseException:
        stop(process)
        raise
    return process, server


def answers(server: Server) -> bool:
    try:
        server.get("/queue")
    except OSError:
        return False
    return True


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with the pack in it, shared by all tests of a session."""
    host = os.environ.get("COMFYUI_PATH")
    if not host:
        pytest.exit("These tests start the real ComfyUI; COMFYUI_PATH does not name one. Run `python3 dev.py test`.", 4)
    process, running = start(Path(host), tmp_path_factory.mktemp("server"))
    yield running
    stop(process)


__all__ = ["Run", "Server", "pack_name", "server"]
