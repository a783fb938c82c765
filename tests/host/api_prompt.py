"""A workflow as the page saves it, turned into the prompt that the page would queue, from what /object_info says."""

from collections.abc import Iterator

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3", "BOUNDING_BOXES"}
NOT_EXECUTED = {"Note", "MarkdownNote"}
SEEDS = {"seed", "noise_seed"}  # the page gives these a second widget, "control after generate", by their name


SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = -10, -20  # the nodes that stand for a subgraph's edges, as the page numbers them


def api_prompt(workflow: dict, object_info: dict) -> dict:
    """The prompt in API format: {node id: {class_type, inputs}}. A node in a subgraph has the id "outer:inner".

    Raises KeyError for a node type the server lacks.
    """
    subgraphs = {each["id"]: each for each in workflow.get("definitions", {}).get("subgraphs", [])}
    prompt: dict = {}
    _flatten(workflow["nodes"], [_link(link) for link in workflow["links"]], "", {}, subgraphs, object_info, prompt)
    return prompt


def _link(link) -> dict:
    if isinstance(link, dict):
        return link
    return dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link))


def _flatten(nodes, links, prefix, given, subgraphs, object_info, prompt) -> dict[tuple, object]:
    """Add the nodes to `prompt`, those of subgraphs under their own ids; returns what each (node, slot) gives out.

    `given`: what comes to each input of the subgraph that these nodes are in, a wire [id, slot] or a value.
    """
    by_id = {link["id"]: link for link in links}
    inside: dict = {}

    def source(link_id):
        """What a wire brings: [id, slot], the value of a widget on the outside, or None."""
        link = by_id[link_id]
        if link["origin_id"] == SUBGRAPH_INPUT:
            return given.get(link["origin_slot"])
        node = next(node for node in nodes if node["id"] == link["origin_id"])
        if node["type"] in subgraphs:
            return unfold(node)[link["origin_slot"]]
        return [f"{prefix}{link['origin_id']}", link["origin_slot"]]

    def unfold(node):
        """The outputs of a subgraph's node, in their order; its inner nodes go into the prompt the first time."""
        if node["id"] in inside:
            return inside[node["id"]]
        subgraph = subgraphs[node["type"]]
        inner_links = [_link(link) for link in subgraph["links"]]
        under = f"{prefix}{node['id']}:"
        outputs = inside[node["id"]] = {
            link["target_slot"]: [f"{under}{link['origin_id']}", link["origin_slot"]]
            for link in inner_links
            if link["target_id"] == SUBGRAPH_OUTPUT
        }
        values = iter(node.get("widgets_values") or [])
        brought = {}
        for index, slot in enumerate(node["inputs"]):
            if "widget" in slot:
                brought[index] = next(values, None)
            if slot.get("link") is not None:
                brought[index] = source(slot["link"])
        _flatten(subgraph["nodes"], inner_links, under, brought, subgraphs, object_info, prompt)
        return outputs

    for node in nodes:
        if node["type"] in subgraphs:
            unfold(node)
        elif node["type"] not in NOT_EXECUTED:
            wires = {
                slot["name"]: brought
                for slot in node.get("inputs", [])
                if slot.get("link") is not None and (brought := source(slot["link"])) is not None
            }
            inputs = node_inputs(node, object_info[node["type"]], wires)
            prompt[f"{prefix}{node['id']}"] = {"class_type": node["type"], "inputs": inputs}
    return inside


def node_inputs(node: dict, info: dict, wires: dict[str, object]) -> dict:
    """Values by input name; a wire wins over the widget it is plugged into."""
    values = iter(node.get("widgets_values") or [])
    inputs = dict(widget_values(info["input"], values))
    left = list(values)
    assert not left, f"{node['type']} has no widget for {left}"
    return {**inputs, **wires}


def widget_values(groups: dict, values: Iterator, prefix: str = "") -> Iterator[tuple[str, object]]:
    """(name, value) of every widget, taking `values` in the order in which the page lays them out."""
    for name, spec in [*groups.get("required", {}).items(), *groups.get("optional", {}).items()]:
        kind, options = spec[0], spec[1] if len(spec) > 1 else {}
        if kind == "IMAGECOMPARE":  # what the page shows, not what the artist sets: it keeps no value
            yield prefix + name, {"__value__": ["", ""]}
            continue
        if options.get("forceInput") or not (isinstance(kind, list) or kind in WIDGETS):
            continue
        value = next(values, options.get("default"))  # one that came with a later version
        # The page wraps a list that is a value, since a bare one would be a wire.
        yield prefix + name, {"__value__": value} if isinstance(value, list) else value
        if options.get("control_after_generate") or (kind == "INT" and name in SEEDS):
            next(values)
        if kind == "COMFY_DYNAMICCOMBO_V3":  # the chosen option's own inputs follow, named after it with a dot
            chosen = next(option for option in options["options"] if option["key"] == value)
            yield from widget_values(chosen["inputs"], values, f"{prefix}{name}.")
