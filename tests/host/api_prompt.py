"""A workflow as the page saves it, turned into the prompt that the page would queue, from what /object_info says."""

from collections.abc import Iterator

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3", "BOUNDING_BOXES"}
NOT_EXECUTED = {"Note", "MarkdownNote"}
SEEDS = {"seed", "noise_seed"}  # the page gives these a second widget, "control after generate", by their name


def api_prompt(workflow: dict, object_info: dict) -> dict:
    """The prompt in API format: {node id: {class_type, inputs}}. Raises KeyError for a node type the server lacks."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    return {
        str(node["id"]): {"class_type": node["type"], "inputs": node_inputs(node, object_info[node["type"]], links)}
        for node in workflow["nodes"]
        if node["type"] not in NOT_EXECUTED
    }


def node_inputs(node: dict, info: dict, links: dict[int, list]) -> dict:
    """Values by input name; a wire wins over the widget it is plugged into."""
    values = iter(node.get("widgets_values") or [])
    inputs = dict(widget_values(info["input"], values))
    left = list(values)
    assert not left, f"{node['type']} has no widget for {left}"
    wired = {slot["name"]: links[slot["link"]] for slot in node.get("inputs", []) if slot.get("link") is not None}
    return {**inputs, **wired}


def widget_values(groups: dict, values: Iterator, prefix: str = "") -> Iterator[tuple[str, object]]:
    """(name, value) of every widget, taking `values` in the order in which the page lays them out."""
    for name, spec in [*groups.get("required", {}).items(), *groups.get("optional", {}).items()]:
        kind, options = spec[0], spec[1] if len(spec) > 1 else {}
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
