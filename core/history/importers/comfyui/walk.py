"""Follow the links of a ComfyUI graph to their values, through reroutes, switches and pipes, with a bound on the work.

Nodes are understood by what their inputs do, not by their names, so that nodes of extensions which nobody listed are
read as well. A graph can compute anything: nothing is evaluated, and what is not understood is noted by node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from core.history.importers import common
from core.history.importers.comfyui.graph import PIPES, Graph, Link, Node

MOST_WORK = 200_000  # for all passes of an image; ten passes in a workflow of 500 nodes need some ten thousand
LINK_WORK = 4  # of following a link, beside 1 for each input of its node
DEEPEST = 100  # links from one node to the next

_PAIRS = (
    ("on_false", "on_true"),
    ("ff_value", "tt_value"),
    ("if_false", "if_true"),
    ("false_value", "true_value"),
    ("input_false", "input_true"),
)
_FLAGS = ("switch", "boolean", "cond", "condition", "bool", "value", "boolean_switch")
_INDEXES = (
    "select", "index", "Input", "selected", "selection", "switch", "select_index", "choice", "input",
)  # fmt: skip
_MORE_NAMES = {  # of what a number is for
    "seed": ("seed", "noise_seed", "seed_num", "seed_value"),
    "steps": ("steps", "steps_total", "total_steps", "num_steps"),
}
_NUMBERS = (
    "value", "int", "float", "number", "Number", "INT", "FLOAT", "Value", "widget_0", "seed", "noise_seed", "text",
    "string",
)  # fmt: skip


class TooComplex(ValueError):
    """The graph needs more work than any real one."""


class Walk:
    """Follows links, each circle at most once."""

    def __init__(self, graph: Graph, spent: int = 0) -> None:
        self.graph = graph
        self.unknown: dict[str, None] = {}  # labels of nodes that were not understood, in order
        self.read: set[str] = set()  # ids of the nodes whose texts are part of a prompt
        self.extra: dict[str, str] = {}  # texts of a second encoder that differ from the first one's
        self.spent = spent
        self._active: set[tuple[str, str, int]] = set()

    def at(self, what: str, value: Any, then: Callable[[Node, int], Any]) -> Any:
        """Call `then` with the node and output that a link comes from; None for a circle, or a way that is too long."""
        node = self.graph.source(value)
        if node is None:
            return None
        self.spend(LINK_WORK + len(node.inputs))
        state = (what, node.id, value.output)
        if state in self._active or len(self._active) > DEEPEST:
            return None
        self._active.add(state)
        try:
            return then(node, value.output)
        finally:
            self._active.discard(state)

    def spend(self, work: int) -> None:
        """Count work. Raises TooComplex when there was too much."""
        self.spent += work
        if self.spent > MOST_WORK:
            raise TooComplex(f"more work than {MOST_WORK}")

    def field(self, node: Node, names: Iterable[str]) -> Any:
        """Return the input of a node by one of `names`: its own, or that of the pipe that comes in."""
        names = tuple(names)
        own = next((node.inputs[name] for name in names if node.inputs.get(name) is not None), None)
        if own is not None:
            return own
        for name, link in node.links():
            lower = name.lower()
            if lower in PIPES or lower.startswith(("pipe", "ctx_", "basic_pipe")) or lower.endswith("_pipe"):
                found = self.at("field " + names[0], link, lambda source, _: self.field(self.behind(source), names))
                if found is not None:
                    return found
        return None

    def behind(self, node: Node) -> Node:
        """Return the node that a switch or a reroute lets through; the node itself for any other."""
        for _ in range(DEEPEST):
            selected = self.graph.source(self.selected(node)) or self._only_source(node)
            if selected is None:
                return node
            node = selected
        return node

    def _only_source(self, node: Node) -> Node | None:
        """Return what a node without any value of its own has as its only input."""
        links = list(node.links())
        return (
            self.graph.source(links[0][1])
            if len(links) == 1 and len(node.inputs) == 1 and "reroute" in node.key
            else None
        )

    def misunderstood(self, node: Node) -> None:
        """Note the class of a node that this reader does not understand."""
        self.unknown.setdefault(node.label)

    def selected(self, node: Node) -> Any:
        """Return the input that a switch lets through; None for a node that is none."""
        inputs = node.inputs
        for off, on in _PAIRS:
            if off in inputs or on in inputs:
                flag = self.flag(next((inputs[name] for name in _FLAGS if name in inputs), None))
                wanted, other = (on, off) if flag else (off, on)
                return (
                    inputs.get(wanted) if flag is not None or off not in inputs else inputs.get(off, inputs.get(other))
                )
        if not any(mark in node.key for mark in ("switch", "select", "coalesce", "pickone", "firstvalid")):
            return None
        numbered = [(number, inputs[name]) for name, number in _numbered(node) if inputs[name] is not None]
        if not numbered:
            return None
        index = next((self.number(inputs[name], "index") for name in _INDEXES if name in inputs), None)
        if index is None:
            return numbered[0][1]
        exact = dict(reversed(numbered))
        if index in exact:
            return exact[index]
        place = int(index) if isinstance(index, int | float) else 0
        return numbered[place][1] if 0 <= place < len(numbered) else None

    def flag(self, value: Any) -> bool | None:
        """Return a truth value, also at the end of a link."""
        if isinstance(value, Link):
            value = self.at("flag", value, lambda node, _: self.flag(next(
                (node.inputs[name] for name in ("value", "boolean", "bool", "widget_0", "number", "int") if name in
                node.inputs), None )))  # fmt: skip
        if isinstance(value, str):
            return value.strip().lower() in ("true", "on", "yes", "enable", "enabled", "1")
        return bool(value) if isinstance(value, bool | int | float) else None

    def number(self, value: Any, hint: str, at_node: Callable[[Node], Any] = lambda node: None) -> Any:
        """Return a number, also at the end of a link, in whatever type the graph has it.

        `hint` is what it is for; `at_node` reads it from a node in a way of its own, or returns None.
        """
        if not isinstance(value, Link):
            return value if isinstance(value, int | float | str) and not isinstance(value, bool) else None
        return self.at("number " + hint, value, lambda node, output: self._number(node, hint, at_node))

    def _number(self, node: Node, hint: str, at_node: Callable[[Node], Any]) -> Any:
        inputs = node.inputs
        selected = self.selected(node)
        if selected is not None:
            return self.number(selected, hint, at_node)
        if (own := at_node(node)) is not None:
            return own
        if "Xi" in inputs:  # a slider of one or two axes
            axis = "Y" if hint == "height" and "Yi" in inputs else "X"
            return inputs.get(f"{axis}f" if inputs.get(f"isfloat{axis}") in (1, True) else f"{axis}i")
        names = _MORE_NAMES.get(hint, (hint,))
        for value in (self.field(node, names), *(inputs.get(name) for name in _NUMBERS)):
            found = self.number(value, hint, at_node)
            if common.real(found) is not None:
                return found
        literals = [v for v in inputs.values() if isinstance(v, int | float) and not isinstance(v, bool)]
        links = list(node.links())
        if len(literals) == 1 and not links:
            return literals[0]
        if len(links) == 1 and not literals:
            return self.number(links[0][1], hint, at_node)
        self.misunderstood(node)
        return None


def _numbered(node: Node) -> Iterator[tuple[str, int]]:
    """Yield the inputs whose names end in a number, in the order of the numbers; the numbers of nameless widgets say nothing."""
    found = []
    for name in node.inputs:
        if name.startswith("widget_"):
            continue
        stem = name.rstrip("0123456789")
        if stem != name and len(name) - len(stem) < 6:
            found.append((int(name[len(stem) :]), name))
    for number, name in sorted(found):
        yield name, number


def is_pipe(node: Node) -> bool:
    """Tell a node that takes in a pipe: model, prompts and VAE in one link."""
    return any(name.lower() in PIPES for name, _ in node.links())
