"""Define models, downloads, the worker and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.types.generation import REFERENCES, Decision

if TYPE_CHECKING:
    from core.errors import StudioError

GPU_SIZES = (4, 6, 8, 12, 16, 24)  # GB of graphics memory


@dataclass(frozen=True)
class ModelInfo:
    """A catalogue entry as a page needs it. Sizes in pixels; `problem` says why it can't be used on this machine now."""

    id: str
    name: Mapping[str, str]  # language -> name
    description: Mapping[str, str]
    path: str | None
    default_width: int
    default_height: int
    default_steps: int
    default_cfg_scale: float  # 1 = off
    size_multiple: int
    max_side: int
    pipeline: str  # class of diffusers; see core.models.families
    problem: StudioError | None = None
    base: str | None = None  # of a single file or a ControlNet: the model that its other parts come from
    frame: str | None = (
        None  # of a whole model in one file, or one whose base is that: the folder that says how it is built
    )
    parts: Mapping[str, str] = field(default_factory=dict)  # part -> the file or folder of its own that it comes from
    part: str = ""  # of an entry that is no model, but a part of others
    part_ids: tuple[str, ...] = ()  # the entries that its parts come from
    base_id: str = ""  # the entry that has them
    file: str = ""  # the one file of the repository that is wanted
    place: str = ""  # where it was found: shipped, store, huggingface, modelscope, path; "" = nowhere
    sources: Mapping[str, str] = field(default_factory=dict)  # hub -> repository
    revisions: Mapping[str, str] = field(default_factory=dict)  # hub -> pinned revision
    licence: str = ""
    disk_bytes: int = 0  # on this machine
    download_bytes: int | None = None  # about, where a hub has it
    memory_bytes: int | None = None  # of all weights in 16 bits
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # option key -> what this model allows
    cannot: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # option key -> why it does nothing here
    own: bool = False  # added by the user
    variant_of: str = ""  # the id of the model that this is in other precision or by another publisher
    cfg_offset: float = 0.0  # CFG scale minus what the pipeline's own `guidance_scale` means
    inputs: tuple[str, ...] = ()  # the roles of input images that it takes, see ROLES
    trained_side: int = 1024  # the longest side that training showed; beyond it positions may be scaled
    width: int | None = (
        None  # of the transformer's tokens, or of the texts that the U-Net reads: a LoRA must have the same
    )
    lora_kind: str = ""  # a LoRA must be of the same kind; "" = unknown, from an older server

    @property
    def edits(self) -> bool:
        """Return True where the model changes images by instruction, beside further ones."""
        return REFERENCES[0] in self.inputs

    @property
    def tier(self) -> str | None:
        """Return the smallest GPU, as in `memory.tier`, that holds all weights and a fifth more, or None."""
        if self.memory_bytes is None:
            return None
        return next((f"{size}gb" for size in GPU_SIZES if size * 1e9 >= 1.2 * self.memory_bytes), None)


@dataclass(frozen=True)
class LoraInfo:
    """A LoRA file as a page needs it. `name` is the file's, without its ending; `problem` says why it can't be used.

    `kind` and `width` as `lora_kind` and `width` in ModelInfo; None where its tensors do not tell.
    """

    name: str
    path: str | None
    bytes: int = 0
    kind: str | None = None
    width: int | None = None
    rank: int | None = None
    digest: str | None = None  # SHA-256 of the file; None while it has not been computed
    preview: bool = False  # an image lies beside the file
    own: bool = False  # in the user's folder, not shipped
    problem: StudioError | None = None
    family: str = ""  # what it was made for: Z-Image, SD 1.5, FLUX ...
    layout: str = ""  # whose way of naming layers it has: kohya, diffusers, ComfyUI ...
    algorithm: str = ""  # LoRA, LoKr, LoHa, DoRA, full; several with commas
    dtype: str = ""
    triggers: tuple[str, ...] = ()  # words that it was trained to answer
    title: str = ""

    def fits(self, model: ModelInfo) -> bool:
        """Return True if kind and width match the model; layers and shapes are compared before use."""
        return model.lora_kind in ("", self.kind) and (self.width == model.width or None in (self.width, model.width))


@dataclass(frozen=True)
class Download:
    """A download of a model. `state`: listing, running, checking, paused, interrupted, failed, done."""

    model: str
    hub: str
    repository: str
    state: str
    done_bytes: int = 0
    total_bytes: int = 0
    speed: float | None = None  # bytes a second, lately
    file: str = ""  # in hand
    error: StudioError | None = None
    attempt: int = 1  # to reach the hub, since the last byte arrived
    attempts: int = 0  # after which it fails; 0 = unknown

    @property
    def active(self) -> bool:
        """Return True while a process works on it."""
        return self.state in ("listing", "running", "checking")

    @property
    def eta_seconds(self) -> float | None:
        """Return the remaining seconds at the present speed."""
        return (self.total_bytes - self.done_bytes) / self.speed if self.speed else None


@dataclass(frozen=True)
class Capability:
    """Whether one value of an option can be used on this machine, and why (not)."""

    option: str
    value: str
    usable: bool
    reason: Mapping[str, str]  # language -> sentence


@dataclass(frozen=True)
class ClusterNode:
    """A machine of a Ray cluster."""

    id: str
    name: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class ClusterWorker:
    """A worker of a Ray cluster. `state`: starting, idle, loading, busy, draining. Memory in bytes, of its GPU if it has one."""

    id: str
    node: str  # the machine's name
    state: str
    pid: int | None = None  # on that machine
    device: str | None = None
    gpu: str = ""  # the GPU's name
    memory_total: int = 0
    memory_free: int = 0
    memory_own: int = 0  # what its model takes
    model: str | None = None
    job: str | None = None  # of the job that it runs
    images_hour: int = 0  # that it finished in the last hour


@dataclass(frozen=True)
class WorkerStatus:
    """The last reported status of the worker process. `state`: stopped, starting, idle, loading, busy, yielding."""

    state: str
    pid: int | None = None
    model: str | None = None
    device: str | None = None
    memory_bytes: int | None = None  # resident memory of the worker process
    load_seconds: float | None = None  # what loading the present model took
    decisions: tuple[Decision, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    updated_at: datetime | None = None
    unloaded_from: int | None = None  # resident memory before an idle model was given back; None while one is loaded
    trouble: StudioError | None = None  # why no worker starts, after several attempts in a row; or a full disk
    read_bytes: int = 0  # while a model is loaded ahead of any job: how much of its weight files is in memory
    total_bytes: int = 0  # and how much there is; 0 = not known
    asked: Mapping[str, Any] = field(default_factory=dict)  # live and reload options, as they were last applied
    effective: Mapping[str, Any] = field(default_factory=dict)  # and what the loaded pipeline made of them
    capabilities: tuple[Capability, ...] = ()
    allocator: str = ""  # the settings of the CUDA allocator when the worker started
    yields_to: Mapping[str, str] = field(default_factory=dict)  # why it leaves the GPU alone, by language
    unmeasured: Mapping[str, str] = field(default_factory=dict)  # requested measurements that are not possible, by language
    nodes: tuple[ClusterNode, ...] = ()  # where worker.executor is ray: the machines ...
    workers: tuple[ClusterWorker, ...] = ()  # ... and the workers on them, of which the fields above are a summary


@dataclass(frozen=True)
class SystemReport:
    """The content of the System page. Memory in bytes."""

    python: str
    platform: str
    versions: Mapping[str, str]
    cpu_count: int
    memory_total: int
    memory_available: int
    disk_free: int
    output_directory: str
    worker: WorkerStatus
    log_tail: tuple[str, ...] = ()
