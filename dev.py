#!/usr/bin/env python3
"""The developer's commands, from a bare machine to a running ComfyUI with this pack in it.

    python3 dev.py demo             the main job, headless, with pictures in output/
    python3 dev.py test [ARGS]      the whole test suite; ARGS go to pytest; --all-hosts repeats the host's part on each
    python3 dev.py serve            a ComfyUI with this pack in it
    python3 dev.py run SCRIPT ...   a script in the environment
    python3 dev.py setup            only the set-up, which every other command does first

`--host-version 0.18.2` chooses a pinned ComfyUI; `--comfyui PATH` takes your own, which is read and never written to.
Everything made here lies in this folder and is ignored by git: .venv*, .host, .cache, output.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from tools import OUTPUT, ROOT, Problem, say
from tools.chromium import get_chromium
from tools.environment import Environment, only_one, set_up
from tools.hosts import DEFAULT, HOSTS, HOSTS_DIR
from tools.server import port_is_free, private_base, server_arguments

COMMANDS = {
    "demo": "the main job, headless",
    "test": "the test suite; further arguments go to pytest",
    "serve": "a ComfyUI with this pack in it",
    "run": "a script in the environment",
    "setup": "only the set-up",
}


def main(argv: Sequence[str]) -> int:
    options, rest = parse(argv)
    if options.command == "test" and options.all_hosts:
        # What does not touch the host need not run three times.
        rest = rest or ["tests/host", "tests/browser"]
        return max(test(set_up(None, version), rest) for version in HOSTS)
    env = set_up(options.comfyui, options.host_version)
    if options.command == "demo":
        return env.run(str(ROOT / "benchmarks" / "demo.py"), *rest)
    if options.command == "test":
        return test(env, rest)
    if options.command == "serve":
        return serve(env, options.port)
    if options.command == "run":
        return env.run(options.script, *rest, *options.arguments)
    say(f"Ready: ComfyUI {env.version} in {env.host}, Python in {env.venv}.")
    return 0


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command with its options, and the arguments that it passes on."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--host-version", metavar="V", help=f"a pinned ComfyUI: {', '.join(HOSTS)}; otherwise {DEFAULT}"
    )
    common.add_argument("--comfyui", metavar="PATH", help="the folder of a ComfyUI of yours")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # No abbreviations: pytest's own options must not be taken for ours.
    parsers = {
        name: commands.add_parser(name, help=text, parents=[common], allow_abbrev=False)
        for name, text in COMMANDS.items()
    }
    parsers["test"].add_argument(
        "--all-hosts", action="store_true", help="on every pinned ComfyUI, one after the other"
    )
    parsers["serve"].add_argument("--port", type=int, default=8188)
    parsers["run"].add_argument("script", metavar="SCRIPT")
    parsers["run"].add_argument("arguments", nargs=argparse.REMAINDER, metavar="...")
    options, rest = parser.parse_known_args(argv)
    if rest and options.command in ("serve", "setup"):
        parser.error(f"{options.command} does not know {' '.join(rest)}")
    return options, rest


def test(env: Environment, arguments: Sequence[str]) -> int:
    say(f"Testing with ComfyUI {env.version} in {env.host} ...")
    with only_one():
        get_chromium()
    # The whole suite two files at a time: nearly all of it works on one thread; more would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    two_at_a_time = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    return env.run("-m", "pytest", *(arguments or two_at_a_time), cwd=ROOT)


def serve(env: Environment, port: int) -> int:
    if not port_is_free(port):
        advice = f"Stop what uses it, or choose another one: `python3 dev.py serve --port {port + 1}`."
        raise Problem(f"Port {port} is in use, perhaps by another ComfyUI. {advice}")
    gpu = env.run(
        "-c", "import sys, torch; sys.exit(not (torch.cuda.is_available() or torch.backends.mps.is_available()))"
    )
    base = private_base(HOSTS_DIR / f"base-{env.version}", env.host)
    OUTPUT.mkdir(exist_ok=True)
    say(
        f"ComfyUI {env.version} with this pack, on the {'CPU (no GPU was found)' if gpu else 'GPU'}: http://127.0.0.1:{port}"
    )
    say("The pack's workflows are under Templates, pictures go to output/, Ctrl-C stops the server.")
    return env.run(*server_arguments(env.host, base, OUTPUT, port, cpu=gpu != 0))


if __name__ == "__main__":
    # A terminated command takes the server or the tests that it started with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main(sys.argv[1:]))
    except Problem as problem:
        sys.exit(f"\n{problem}")
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
