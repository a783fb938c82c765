"""Every node's help in English and Chinese, where the page looks for it (NODE.md, NODE/zh.md), with a picture."""

import re

import pytest
from prompt_fidelity.nodes import NODES
from prompt_fidelity.tools import ROOT, locales

DOCS = ROOT / "web" / "docs"
SCHEMAS = [node.GET_SCHEMA() for node in NODES]
MOST = 600_000  # bytes of all pictures


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.node_id)
def test_the_chinese_page_names_every_input_and_output_as_the_node_does(schema):
    text, words = (DOCS / schema.node_id / "zh.md").read_text(), locales.read("zh")[schema.node_id]
    assert text.startswith(f"# {words['display_name']}\n")
    missing = [one.id for one in schema.inputs if f"`{one.id}`" not in text]
    missing += [one["name"] for one in words.get("outputs", {}).values() if f"**{one.get('name', '')}" not in text]
    assert not missing, missing


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.node_id)
@pytest.mark.parametrize("page", ["{}.md", "{}/zh.md"])
def test_a_page_has_one_picture_and_it_is_there(schema, page):
    # The page of ComfyUI takes paths from docs/, whatever folder the text lies in.
    (picture,) = re.findall(r"!\[.+\]\((.+)\)", (DOCS / page.format(schema.node_id)).read_text())
    assert (DOCS / picture).is_file()


def test_the_pictures_are_small_and_none_is_left_over():
    pictures = sorted((DOCS / "pictures").iterdir())
    assert sum(picture.stat().st_size for picture in pictures) <= MOST
    assert {picture.stem for picture in pictures} == {schema.node_id for schema in SCHEMAS}
