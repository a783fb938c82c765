"""The pack in the real server: nodes, help pages and workflow templates are where the page looks for them."""

from pathlib import Path
from urllib.parse import quote

import pytest
from live_server import Server, pack_name

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


def node_ids() -> list[str]:
    from prompt_fidelity.nodes import NODES

    return [node.define_schema().node_id for node in NODES]


def test_every_node_is_offered(server: Server):
    offered = server.get_json("/object_info")
    assert node_ids()
    for node_id in node_ids():
        assert node_id in offered, server.log.read_text()[-4000:]
        assert offered[node_id]["python_module"] == f"custom_nodes.{pack_name()}"
        assert offered[node_id]["description"]


def test_loading_the_pack_logs_no_trouble(server: Server):
    log = server.log.read_text()
    assert "IMPORT FAILED" not in log
    troubles = [line for line in log.splitlines() if pack_name() in line and ("WARNING" in line or "ERROR" in line)]
    assert troubles == []


def test_every_node_has_a_help_page(server: Server):
    missing = [name for name in node_ids() if server.status(f"/extensions/{pack_name()}/docs/{name}.md") != 200]
    assert missing == []


def test_the_workflows_are_listed_as_templates(server: Server):
    assert WORKFLOWS, "workflows/ is empty"
    assert sorted(server.get_json("/api/workflow_templates")[pack_name()]) == WORKFLOWS


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_and_its_thumbnail_are_served(server: Server, name: str):
    for ending in ("json", "jpg"):
        assert server.status(f"/api/workflow_templates/{pack_name()}/{quote(name)}.{ending}") == 200
