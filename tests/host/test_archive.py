"""What the registry hands out: small, without what makes the pack, and whole enough to draw in a clean ComfyUI."""

import json
import os
import re
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest
from api_prompt import api_prompt
from live_server import start, stop
from prompt_fidelity.nodes import NODES
from prompt_fidelity.tools import ROOT, archive, node_diff
from prompt_fidelity.tools.server import pack_name

TEMPLATE = "1 Start here, nothing left out - Prompt Fidelity"
MOST = 24 * 2**20  # bytes: both demo models, of 10 and 11 MB, and TinyCLIP
PROJECT = (ROOT / "pyproject.toml").read_text()
DEVELOPERS = {"tests", "benchmarks", "tools", "docs", ".ci", ".github", "dev.py", "CONTRIBUTING.md"}


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("archive") / "pack.zip"
    archive.build(place)
    return place


def test_the_archive_is_small_and_holds_what_runs_and_nothing_else(packed: Path):
    names = zipfile.ZipFile(packed).namelist()
    assert packed.stat().st_size <= MOST
    assert not {name.split("/")[0] for name in names} & DEVELOPERS
    assert {"__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md", "CHANGELOG.md"} <= set(names)
    assert not [name for name in names if name.startswith("assets/") and not name.endswith((".json", ".safetensors"))]
    for folder in ("core", "host", "nodes", "locales", "subgraphs", "web", "workflows"):
        tracked = {file for file in archive._tracked() if file.startswith(f"{folder}/")}
        assert tracked and tracked <= set(names)


def test_a_template_of_the_archive_runs_in_a_clean_comfyui(packed: Path, tmp_path: Path):
    pack = tmp_path / "unpacked"
    zipfile.ZipFile(packed).extractall(pack)
    process, server = start(Path(os.environ["COMFYUI_PATH"]), tmp_path, pack)
    try:
        template = server.get_json(f"/api/workflow_templates/{pack_name()}/{quote(TEMPLATE)}.json")
        run = server.run(api_prompt(template, server.get_json("/object_info")), timeout=180, workflow=template)
        assert any(output.get("images") for output in run.outputs.values())
        assert "ko" in server.get_json("/i18n")
        assert server.status(f"/extensions/{pack_name()}/docs/FidelityApply.md") == 200
    finally:
        stop(process)


def test_what_the_registry_reads_is_right():
    name, version = (re.search(rf'^{key} = "(.+)"$', PROJECT, re.MULTILINE).group(1) for key in ("name", "version"))
    assert re.fullmatch(r"[a-z](?:[a-z0-9]|[-_.](?=[a-z0-9]))*", name) and "comfy" not in name and len(name) < 100
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()
    links = re.findall(r'^(?:Icon|Banner) = ".+/main/(.+)"$', PROJECT, re.MULTILINE)
    assert len(links) == 2 and all((ROOT / link).is_file() for link in links)


def test_nothing_is_published_before_the_suite_has_passed():
    text = (ROOT / ".github" / "workflows" / "publish.yml").read_text()
    assert "needs: suite" in text and "uses: ./.github/workflows/tests.yml" in text
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "tests.yml").read_text()


def test_the_registrys_check_sees_every_node():
    """Comfy-Org/node-diff compares these attributes, of two versions in one process."""
    seen = node_diff.mappings(str(ROOT), "pack_seen_by_node_diff")
    assert list(seen) == [node.GET_SCHEMA().node_id for node in NODES]
    for node in NODES:
        other = seen[node.GET_SCHEMA().node_id]
        assert other is not node and other.RETURN_TYPES == node.RETURN_TYPES and other.FUNCTION == node.FUNCTION


def test_a_template_names_the_pack_as_the_registry_does():
    for file in sorted((*(ROOT / "workflows").glob("*.json"), *(ROOT / "subgraphs").glob("*.json"))):
        content = json.loads(file.read_text(encoding="utf-8"))
        inner = [node for each in content["definitions"]["subgraphs"] for node in each["nodes"]]
        ours = [node for node in (*content["nodes"], *inner) if node["type"].startswith("Fidelity")]
        named = {node["properties"].get("cnr_id") for node in ours} or {pack_name()}
        assert named == {pack_name()}, f"{file.name}: ComfyUI Manager would look for {named}"
