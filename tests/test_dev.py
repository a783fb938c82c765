"""The developer's commands: what they choose, what they check, and the sentences that they end with in trouble."""

import os
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from prompt_fidelity.tools import ROOT, Problem, environment, hosts, server, venvs


def fake_host(folder: Path, version: str = "0.30.0") -> Path:
    (folder / "comfy").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "comfy" / "model_patcher.py").write_text("")
    (folder / "main.py").write_text("")
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    return folder


def dev(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "dev.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **variables})


# ---- which host


def test_the_path_that_was_asked_for_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", "elsewhere")
    assert hosts.find_host(str(tmp_path), None) == tmp_path


def test_comfyui_path_comes_before_the_pinned_release_unless_a_version_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    monkeypatch.setattr(hosts, "pinned_host", lambda version: Path(version))
    assert hosts.find_host(None, None) == tmp_path
    assert hosts.find_host(None, "0.18.2") == Path("0.18.2")


def test_a_pack_installed_in_a_comfyui_uses_that_one(tmp_path, monkeypatch):
    host = fake_host(tmp_path / "ComfyUI")
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(hosts, "ROOT", host / "custom_nodes" / "pack")
    assert hosts.find_host(None, None) == host


def test_without_anything_the_default_release_is_taken(monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(hosts, "ROOT", Path("somewhere", "pack"))
    monkeypatch.setattr(hosts, "pinned_host", lambda version: Path(version))
    assert hosts.find_host(None, None) == Path(hosts.DEFAULT)


def test_the_hosts_that_are_promised_are_pinned():
    assert set(hosts.HOSTS) == {"0.30.0", "0.18.2", "0.16.3"}
    assert hosts.OLDEST == min(hosts.HOSTS, key=hosts.numbers)


@pytest.mark.parametrize("version", ["0.3.64", "0.16.2"])
def test_an_old_host_is_refused(tmp_path, version):
    with pytest.raises(Problem, match="older than 0.16.3"):
        hosts.host_version(fake_host(tmp_path / "h", version))


def test_a_newer_host_is_taken(tmp_path):
    assert hosts.host_version(fake_host(tmp_path / "h", "0.31.2")) == "0.31.2"


def test_a_folder_without_a_host_is_refused(tmp_path):
    with pytest.raises(Problem, match="not a ComfyUI folder"):
        hosts.host_version(tmp_path)


# ---- is it the right one


def test_the_source_hash_sees_a_changed_a_renamed_and_an_added_file(tmp_path):
    host = fake_host(tmp_path / "h")
    before = hosts.source_hash(host)
    assert hosts.source_hash(host) == before
    (host / "output.txt").write_text("not a source file")
    assert hosts.source_hash(host) == before

    (host / "comfy" / "extra.py").write_text("")
    added = hosts.source_hash(host)
    (host / "comfy" / "extra.py").rename(host / "comfy" / "other.py")
    renamed = hosts.source_hash(host)
    (host / "comfy" / "other.py").write_text("x = 1")
    assert len({before, added, renamed, hosts.source_hash(host)}) == 4


def test_a_tampered_release_is_thrown_away(tmp_path, monkeypatch):
    """Neither the clone nor the archive that holds other files becomes the host."""
    monkeypatch.setattr(hosts, "HOSTS_DIR", tmp_path)

    def fetch(version, folder):
        source = fake_host(folder / "source")
        hosts.check_source(source, version)
        return source

    monkeypatch.setattr(hosts, "clone", lambda version, folder: None)
    monkeypatch.setattr(hosts, "download", fetch)
    with pytest.raises(Problem, match="SHA-256 differs"):
        hosts.pinned_host("0.30.0")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_version_names_the_known_ones():
    with pytest.raises(Problem, match="0.30.0, 0.18.2, 0.16.3"):
        hosts.pinned_host("0.17.0")


def test_only_the_host_is_unpacked_and_nothing_outside_the_folder(tmp_path):
    for name in ("pkg/vendor/ComfyUI/main.py", "pkg/other.py"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "in" / "pkg", "pkg")
    out = tmp_path / "out"
    out.mkdir()
    assert (hosts.unpack(tmp_path / "a.tar.gz", out, "pkg/vendor/ComfyUI") / "main.py").is_file()
    assert not (out / "pkg" / "other.py").exists()


# ---- the environment


@pytest.mark.parametrize("version", [(3, 9), (3, 15), (2, 7)])
def test_an_unsuitable_python_is_refused_with_advice(version):
    with pytest.raises(Problem, match=r"need 3\.10 to 3\.14.*(This machine has one|Install one of)"):
        venvs.check_python(version)


def test_the_supported_pythons_pass():
    for minor in range(10, 15):
        venvs.check_python((3, minor, 1))


def test_a_full_disk_is_noticed_before_anything_is_installed():
    with pytest.raises(Problem, match="GB left"):
        venvs.check_disk(1e9)


@pytest.mark.parametrize(
    "log, sentence",
    [
        ("WARNING: Retrying ... NewConnectionError('...: Failed to establish a new connection')", "cannot be reached"),
        ("OSError: [Errno 28] No space left on device", "disk filled up"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "another SHA-256"),
        ("ERROR: something never seen", "delete .venv"),
    ],
)
def test_pip_troubles_end_in_a_sentence_and_keep_pips_words(log, sentence):
    explained = venvs.explain_pip(log)
    assert sentence in explained.splitlines()[0]
    assert log in explained


@pytest.fixture
def no_venvs(tmp_path, monkeypatch):
    """Installing makes no real environment and downloads nothing."""

    def make(venv, base):
        venvs.python_in(venv).parent.mkdir(parents=True, exist_ok=True)
        venvs.python_in(venv).touch()

    monkeypatch.setattr(venvs, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(venvs, "make_venv", make)


def test_an_environment_is_installed_once_and_again_when_its_contents_change(tmp_path, monkeypatch, no_venvs):
    calls = []
    monkeypatch.setattr(venvs, "pip", lambda venv, *arguments: calls.append(arguments))
    venv = tmp_path / "venv"
    for key in ("one", "one", "two"):
        venvs.install(venv, None, "base", key, "title", ["package"])
    assert calls == [("install", "package")] * 2


def test_a_broken_off_installation_is_repeated(tmp_path, monkeypatch, no_venvs):
    def broken(venv, *arguments):
        raise Problem("broken off")

    monkeypatch.setattr(venvs, "pip", broken)
    with pytest.raises(Problem):
        venvs.install(tmp_path / "venv", None, "base", "key", "title", [])
    calls = []
    monkeypatch.setattr(venvs, "pip", lambda venv, *arguments: calls.append(arguments))
    venvs.install(tmp_path / "venv", None, "base", "key", "title", [])
    assert calls


def test_a_half_made_environment_is_made_anew(tmp_path):
    venv = tmp_path / "venv"
    python = venvs.python_in(venv)
    python.parent.mkdir(parents=True)
    python.symlink_to(tmp_path / "gone")
    venvs.make_venv(venv)
    assert subprocess.run([str(python), "-c", "import pip"]).returncode == 0


def test_an_environment_on_another_sees_its_packages_and_hides_them_by_its_own(tmp_path):
    base, over = tmp_path / "base", tmp_path / "over"
    venvs.make_venv(base)
    venvs.make_venv(over, base)
    for venv, names in ((base, ("one", "two")), (over, ("two",))):
        for name in names:
            (venvs.site_packages(venv) / f"{name}.py").write_text(f"place = {venv.name!r}")
    code = "import one, two; print(one.place, two.place)"
    done = subprocess.run([str(venvs.python_in(over)), "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["base", "over"]


def test_a_second_set_up_waits_for_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(environment, "CACHE", tmp_path)
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(1, flush=True); time.sleep(1)"
    command = [sys.executable, "-c", code, str(tmp_path / "setup.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline()
        with environment.only_one():
            assert first.wait(60) == 0  # it has given the lock away already
    assert "waiting" in capsys.readouterr().out


def test_golden_vectors_can_be_swapped(monkeypatch):
    env = environment.Environment(Path("h"), "0.30.0", Path("v"))
    monkeypatch.delenv("GOLDEN_DIR", raising=False)
    assert env.variables()["GOLDEN_DIR"] == str(ROOT / "tests" / "golden")
    monkeypatch.setenv("GOLDEN_DIR", "other")
    assert env.variables()["GOLDEN_DIR"] == str(Path("other").absolute())


# ---- the commands as they are typed


def test_a_wrong_path_ends_in_a_sentence_not_a_traceback(tmp_path):
    done = dev("setup", "--comfyui", str(tmp_path))
    assert done.returncode == 1
    assert "not a ComfyUI folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_runs_from_any_folder_in_seconds_and_passes_arguments_on(tmp_path):
    (tmp_path / "script.py").write_text("import os, sys; print(os.environ['COMFYUI_PATH'], *sys.argv[1:], sep='|')")
    done = dev("run", "script.py", "--json", "-k", "a b", cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == f"{os.environ['COMFYUI_PATH']}|--json|-k|a b"


def test_a_port_in_use_ends_in_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = dev("serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "in use" in done.stderr and "--port" in done.stderr


def test_the_server_writes_to_its_own_folder_and_finds_the_hosts_models(tmp_path):
    host = fake_host(tmp_path / "h")
    base = server.private_base(tmp_path / "base", host)
    server.link(base / "custom_nodes" / "its-old-name", ROOT)
    server.private_base(base, host)  # again: only what an earlier version left goes
    assert [entry.name for entry in (base / "custom_nodes").iterdir()] == [server.pack_name()]
    assert (base / "custom_nodes" / server.pack_name()).resolve() == ROOT
    assert (base / "models").resolve() == host / "models"
    other = fake_host(tmp_path / "other")
    assert (server.private_base(base, other) / "models").resolve() == other / "models"
    arguments = server.server_arguments(host, base, tmp_path / "output", 8188, cpu=True)
    assert {"--cpu", "--disable-api-nodes"} <= set(arguments)
    assert not any(argument.startswith(str(host)) for argument in arguments[1:])
