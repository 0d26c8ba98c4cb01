"""Convert a workflow as ComfyUI's page saves it (nodes, links by number, ordered widget values) to a graph.

It is brought to the same graph as the API format: subgraphs are put in place of their instances; reroutes, primitives, Set and Get
nodes and bypassed nodes are followed through; muted nodes are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.history.importers.comfyui.graph import MOST_NODES, Graph, Link, Node
from core.history.importers.comfyui.widgets import CONTROLS, WIDGETS, guessed

MUTED, BYPASSED = 2, 4
_INSIDE, _OUTSIDE = -10, -20  # the nodes of a subgraph's own inputs and outputs
_OWN_INPUT = "-1"
_DEEPEST = 12  # subgraphs within subgraphs
_LONGEST = 200  # reroutes and boundaries in a row
_VIRTUAL = ("Reroute", "SetNode", "GetNode", "Note", "MarkdownNote", "PrimitiveNode")


@dataclass
class _Level:
    """A workflow, or one instance of a subgraph with what it is connected to outside."""

    prefix: str
    nodes: dict[str, dict[str, Any]]
    links: dict[str, tuple[str, int, str, int, str]]  # number -> from node, output, to node, input, type
    definition: Mapping[str, Any]
    outer: _Level | None = None
    instance: Mapping[str, Any] = field(default_factory=dict)
    children: dict[str, _Level] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.overrides: dict[str, dict[str, Any]] = {}  # values that the instance has for widgets of the nodes in it
        for node_id, name, value in _proxied(self.instance):
            if value is not None and node_id != _OWN_INPUT:
                self.overrides.setdefault(node_id, {})[name] = value
        self.setters = {
            _first_widget(node): node for node in reversed(self.nodes.values()) if node.get("type") == "SetNode"
        }  # by the name that is set
        self.results = {link[3]: number for number, link in reversed(self.links.items()) if link[2] == str(_OUTSIDE)}


def read_workflow(data: Mapping[str, Any]) -> Graph | None:
    """Return the graph of a saved workflow; None when this is no such object."""
    if not isinstance(data.get("nodes"), list):
        return None
    definitions = data.get("definitions")
    listed = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    subgraphs = {
        str(one.get("id")): one for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict)
    }
    reader = _Reader(subgraphs)
    top = reader.level("", data, None, {})
    nodes = {node.id: node for node in reader.collect(top)}
    return Graph(nodes) if nodes else None


class _Reader:
    def __init__(self, subgraphs: Mapping[str, Mapping[str, Any]]) -> None:
        self._subgraphs = subgraphs
        self._count = 0

    def level(self, prefix: str, data: Mapping[str, Any], outer: _Level | None, instance: Mapping[str, Any]) -> _Level:
        """Build a level and those of the subgraphs in it."""
        nodes = {str(node["id"]): node for node in _objects(data.get("nodes")) if "id" in node}
        self._count += len(nodes)
        if self._count > MOST_NODES or prefix.count(":") > _DEEPEST:
            raise ValueError("a workflow with too many nodes")
        level = _Level(prefix, nodes, dict(_links(data.get("links"))), data, outer, instance)
        for node_id, node in nodes.items():
            definition = self._subgraphs.get(str(node.get("type")))
            if definition is not None and node.get("mode") != MUTED:
                level.children[node_id] = self.level(f"{prefix}{node_id}:", definition, level, node)
        return level

    def collect(self, level: _Level) -> Iterator[Node]:
        """Yield every node that computes something."""
        for node_id, node in level.nodes.items():
            kind, mode = str(node.get("type")), node.get("mode")
            if node_id in level.children:
                if mode != BYPASSED:
                    yield from self.collect(level.children[node_id])
            elif mode not in (MUTED, BYPASSED) and kind not in _VIRTUAL:
                yield Node(level.prefix + node_id, kind, self._inputs(level, node), tuple(_output_names(node)))

    def _inputs(self, level: _Level, node: Mapping[str, Any]) -> dict[str, Any]:
        inputs = {**dict(widget_values(node)), **level.overrides.get(str(node.get("id")), {})}
        for slot in _objects(node.get("inputs")):
            name = str(slot.get("name"))
            value = self._origin(level, slot.get("link"))
            if value is not None:
                inputs[name] = value
            elif slot.get("link") is not None and isinstance(inputs.get(name), Link):
                del inputs[name]
        return inputs

    def _origin(self, level: _Level | None, number: Any) -> Any:
        """Return what a link brings: an output of a node that computes, or the value of a primitive; None where it
        ends in nothing."""
        for _ in range(_LONGEST):
            link = level.links.get(str(number)) if level is not None and number is not None else None
            if level is None or link is None:
                return None
            source, output, _, _, kind = link
            if source == str(_INSIDE):
                declared = _declared(level.definition, "inputs", output)
                slot = _slot(level, declared, output)
                if slot is None or slot.get("link") is None:
                    return _promoted(level.instance, declared, slot)
                level, number = level.outer, slot["link"]
                continue
            node = level.nodes.get(source)
            if node is None or node.get("mode") == MUTED:
                return None
            found = self._through(level, node, output, kind)
            if found is _HERE:
                return Link(level.prefix + source, output)
            if not isinstance(found, tuple):
                return found
            level, number = found
        return None

    def _through(self, level: _Level, node: Mapping[str, Any], output: int, kind: str) -> Any:
        """Return level and number of the link that goes on behind a node, a value, or _HERE for a node that computes."""
        node_type = str(node.get("type"))
        if node.get("mode") == BYPASSED:
            return level, _bypass(node, output, kind)
        if str(node["id"]) in level.children:
            inner = level.children[str(node["id"])]
            return (inner, inner.results[output]) if output in inner.results else None
        if node_type == "PrimitiveNode":
            return next((value for value in _listed(node.get("widgets_values")) if value is not None), None)
        if node_type == "GetNode":
            setter = level.setters.get(_first_widget(node))
            return (level, _first_link(setter)) if setter is not None else None
        if node_type in ("Reroute", "SetNode"):
            return level, _first_link(node)
        return _HERE


_HERE = object()


def widget_values(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values of a node's widgets by name: as the node names them, else in the order of its kind, else by
    position, and what says itself what it is by that name, too."""
    values = node.get("widgets_values")
    if isinstance(values, dict):
        yield from ((str(name), value) for name, value in values.items())
        return
    values = _listed(values)
    slots = _objects(node.get("inputs"))
    named = [str(slot["widget"].get("name")) for slot in slots if isinstance(slot.get("widget"), dict)]
    order = WIDGETS.get(str(node.get("type")), ())
    bare = [value for value in values if not (isinstance(value, str) and value in CONTROLS)]
    if order:
        yield from zip(order, _aligned(order, values, bare), strict=False)
    elif named and len(named) >= len(bare):
        yield from zip(named, bare, strict=False)
    else:
        for k, value in enumerate(values):
            if isinstance(value, dict) and "lora" in value:
                yield f"lora_{k}", value
            else:
                yield f"widget_{k}", value
        yield from guessed(str(node.get("type", "")).lower(), values)


def _aligned(order: tuple[str, ...], values: list[Any], bare: list[Any]) -> list[Any]:
    """Return the values without what the page keeps behind a seed (fixed, randomize ..., or nothing)."""
    if len(bare) > len(order) and None in bare:
        bare = [value for value in bare if value is not None]
    return bare if len(values) > len(order) or any(isinstance(v, str) and v in CONTROLS for v in values) else values


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _links(value: Any) -> Iterator[tuple[str, tuple[str, int, str, int, str]]]:
    for link in _listed(value):
        if isinstance(link, list) and len(link) >= 5:
            kind = str(link[5]) if len(link) > 5 else "*"
            yield str(link[0]), (str(link[1]), _index(link[2]), str(link[3]), _index(link[4]), kind)
        elif isinstance(link, dict):
            yield str(link.get("id")), (
                str(link.get("origin_id")), _index(link.get("origin_slot")), str(link.get("target_id")),
                _index(link.get("target_slot")), str(link.get("type", "*")),
            )  # fmt: skip


def _index(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _output_names(node: Mapping[str, Any]) -> Iterator[str]:
    for slot in _objects(node.get("outputs")):
        yield str(slot.get("name") or slot.get("type") or "").lower()


def _first_link(node: Mapping[str, Any]) -> Any:
    return next((slot["link"] for slot in _objects(node.get("inputs")) if slot.get("link") is not None), None)


def _first_widget(node: Mapping[str, Any]) -> str:
    return str(next(iter(_listed(node.get("widgets_values"))), ""))


def _bypass(node: Mapping[str, Any], output: int, kind: str) -> Any:
    """Return the link that a bypassed node passes on: that of its first input of the output's type, beginning at the
    same position."""
    outputs, inputs = _objects(node.get("outputs")), _objects(node.get("inputs"))
    kind = str(outputs[output].get("type", kind)) if output < len(outputs) else kind
    order = sorted(range(len(inputs)), key=lambda k: k != output)
    return next(
        (
            inputs[k]["link"]
            for k in order
            if inputs[k].get("type") in (kind, "*") and inputs[k].get("link") is not None
        ),
        None,
    )


def _declared(definition: Mapping[str, Any], side: str, index: int) -> Mapping[str, Any]:
    slots = _objects(definition.get(side))
    return slots[index] if 0 <= index < len(slots) else {}


def _slot(level: _Level, declared: Mapping[str, Any], index: int) -> dict[str, Any] | None:
    """Return the input of a subgraph's instance: by name, else, where it lists them all, by position."""
    slots = _objects(level.instance.get("inputs"))
    named = next(
        (slot for slot in slots if declared.get("name") is not None and slot.get("name") == declared["name"]), None
    )
    if named is not None:
        return named
    complete = len(slots) >= len(_objects(level.definition.get("inputs")))
    return slots[index] if complete and 0 <= index < len(slots) else None


def _promoted(instance: Mapping[str, Any], declared: Mapping[str, Any], slot: Mapping[str, Any] | None) -> Any:
    """Return the value that an instance has for an input of its subgraph; None where the node inside keeps it."""
    if instance.get("properties") and (proxied := list(_proxied(instance))):
        name = declared.get("name")
        return next((value for node_id, widget, value in proxied if node_id == _OWN_INPUT and widget == name), None)
    if slot is None or not isinstance(slot.get("widget"), dict):
        return None
    slots = [one for one in _objects(instance.get("inputs")) if isinstance(one.get("widget"), dict)]
    values = [v for v in _listed(instance.get("widgets_values")) if not (isinstance(v, str) and v in CONTROLS)]
    place = next((k for k, one in enumerate(slots) if one is slot), len(values))
    return values[place] if place < len(values) else None


def _proxied(instance: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield node, widget and value of what an instance shows of the nodes in it; the node -1 is the subgraph's own input."""
    properties = instance.get("properties")
    proxies = _listed(properties.get("proxyWidgets")) if isinstance(properties, dict) else []
    for proxy, value in zip(proxies, _listed(instance.get("widgets_values")), strict=False):
        if isinstance(proxy, list) and len(proxy) >= 2:
            yield str(proxy[0]), str(proxy[1]), value
