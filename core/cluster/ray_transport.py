"""Connect to actors through Ray. The only module that imports ray, and only when it is used.

On one machine Ray listens on 127.0.0.1 with a new token each time; usage reports are off.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from core.cluster.actor import GeneratorActor
from core.cluster.transport import Handle, Heard, Node, WorkerGone
from core.config.thread_environment import ASLEEP, SPIN, SPIN_VARIABLE
from core.jobs import generator_protocol
from core.jobs.worker_process import ALLOCATOR_VARIABLE

LOOPBACK = "127.0.0.1"
FOLDER = "zdarkroom-ray-"  # of Ray's sockets and logs, in the system's temporary folder: a path there is short enough
OBJECT_BYTES = 512 * 2**20  # room for the images on their way
REACH_SECONDS = 5.0
CALLS = 4  # verbs of one actor at once: one listens, others tell

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",  # of the processes that Ray would start ahead our actors use none
    "RAY_enable_worker_prestart": "0",
    "RAY_enable_metrics_collection": "0",  # nor does anyone read its figures: counting them takes time from generating
    "RAY_event_stats": "0",
    "RAY_enable_timeline": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_debug_dump_period_milliseconds": "0",
    "RAY_raylet_report_resources_period_milliseconds": "1000",  # we place the workers ourselves
    "RAY_memory_monitor_refresh_ms": "1000",
}

log = logging.getLogger(__name__)


def join(address: str) -> ModuleType:
    """Start Ray on this machine, or join a running one. OSError, ValueError or Ray's own errors when that fails."""
    os.environ |= _QUIET
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if address.startswith((LOOPBACK, "localhost")) or not address:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's word for: bind 127.0.0.1, on every system
    if address:
        _reach(address)
        import ray

        ray.init(address=address, **quiet)
        return ray
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    import ray

    ray.init(
        include_dashboard=False,
        _node_ip_address=LOOPBACK,
        object_store_memory=OBJECT_BYTES,
        _temp_dir=str(_own_folder()),
        **quiet,
    )
    return ray


def _reach(address: str) -> None:
    """Raise OSError or ValueError at once for an address where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()


def _own_folder() -> Path:
    """Return a new folder that only this user can read; folders of dead processes are removed."""
    for old in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        if not psutil.pid_exists(int(old.name.removeprefix(FOLDER).split("-")[0])):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))


@dataclass(eq=False)
class _Actor:
    """An actor, its machine, and the pending call: it returns as soon as the actor has a message."""

    handle: Any
    node: Node
    call: Any  # None once the actor was ended


class RayTransport:
    """Start actors through Ray, each on the machine asked for."""

    def __init__(self, ray: ModuleType, generator: str, configs: Path, values: Mapping[str, Any]) -> None:
        self._ray = ray
        self._arguments = (generator, str(configs), dict(values))
        self._actor = ray.remote(GeneratorActor)

    def nodes(self) -> Sequence[Node]:
        """Return the machines that are alive."""
        return [_node(entry) for entry in self._ray.nodes() if entry["Alive"]]

    def start(self, node: Node, threads: int) -> Handle:
        """Start an actor on a machine, with a GPU of its own if the machine has any."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        variables = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
        variables |= ASLEEP if os.environ.get(SPIN_VARIABLE) == SPIN else {}  # several workers share a machine's cores
        variables |= {name: os.environ[name] for name in (ALLOCATOR_VARIABLE,) if name in os.environ}
        handle = self._actor.options(
            num_cpus=0,  # not by Ray's count of cores, but by ours
            num_gpus=1 if node.gpus else 0,
            max_concurrency=CALLS,
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            runtime_env={"env_vars": variables},
        ).remote(*self._arguments)
        return _Actor(handle, node, handle.listen.remote())

    def send(self, handle: Handle, verb: str, *arguments: Any) -> None:
        """Call a method of the actor without waiting. `hear` reports if it is gone."""
        getattr(handle.handle, verb).remote(*arguments)

    def hear(self, handles: Sequence[Handle], seconds: float) -> Sequence[tuple[Handle, Heard | WorkerGone]]:
        """Return the messages of actors. An unreachable actor counts as gone, as messages may be lost."""
        by_call = {actor.call: actor for actor in handles if actor.call is not None}
        if not by_call:
            time.sleep(seconds)
            return []
        first, rest = self._ray.wait(list(by_call), num_returns=1, timeout=seconds)
        more, _ = self._ray.wait(rest, num_returns=len(rest), timeout=0) if first and rest else ([], [])
        return [(by_call[call], self._answer(by_call[call], call)) for call in (*first, *more)]

    def _answer(self, actor: _Actor, call: Any) -> Heard | WorkerGone:
        try:
            heard: Heard = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            log.error("an actor is gone: %s", " ".join(str(error).split())[:1000])
            return WorkerGone(self._why(actor.node, error))
        if actor.call is not None:
            actor.call = actor.handle.listen.remote()
        return heard

    def _why(self, node: Node, error: Exception) -> generator_protocol.Reason:
        there = any(other.id == node.id for other in self.nodes())
        process = there and not isinstance(error, self._ray.exceptions.ActorUnavailableError)
        return generator_protocol.actor_gone(node.name) if process else generator_protocol.node_gone(node.name)

    def end(self, handle: Handle) -> None:
        """Kill the actor."""
        handle.call = None
        self._ray.kill(handle.handle)


def _node(entry: Mapping[str, Any]) -> Node:
    """Return a machine as Ray describes it: by its given name, else its host name."""
    has, name = entry["Resources"], entry["NodeName"]
    name = entry["NodeManagerHostname"] if name == entry["NodeManagerAddress"] else name
    return Node(entry["NodeID"], name, int(has.get("CPU", 1)), int(has.get("GPU", 0)))
