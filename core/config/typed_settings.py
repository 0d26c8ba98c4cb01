"""Declare the settings by section and name, such as `settings.server.port`, for mypy and editors.

Generated from core/config/options by `python3 start.py options --write`; do not edit it by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal


class Section:
    """The options whose keys begin with one word. A name that no option has raises AttributeError."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self._name = name
        self._values = values

    if not TYPE_CHECKING:  # mypy is to know the declared names only

        def __getattr__(self, name: str) -> Any:
            key = f"{self._name}.{name}"
            if name.startswith("_") or key not in self._values:
                raise AttributeError(f"there is no option {key}")
            return self._values[key]


class GenerationSection(Section):
    """The options `generation.*`."""

    prompt: str
    negative_prompt: str
    width: int | Literal["auto"]
    height: int | Literal["auto"]
    num_inference_steps: int | Literal["auto"]
    guidance_scale: float | Literal["auto"]
    cfg_scale: float | Literal["auto"]
    seed: int
    num_images: int
    sampler: Literal[
        "auto",
        "euler",
        "euler_ancestral",
        "heun",
        "dpm_2",
        "dpm_2_ancestral",
        "dpmpp_2m",
        "dpmpp_sde",
        "dpmpp_2m_sde",
        "lms",
        "ddim",
        "pndm",
        "unipc",
        "deis",
        "lcm",
        "tcd",
    ]
    schedule: Literal["auto", "simple", "normal", "karras", "exponential", "beta", "sgm_uniform"]
    variation_strength: float
    variation_seed: int
    prompt_noise: float
    short_prompt_steps: float
    prompt_syntax: Literal["a1111", "comfyui", "off"]
    clip_skip: int


class BatchSection(Section):
    """The options `batch.*`."""

    max_images: int
    wildcards: str


class ModelSection(Section):
    """The options `model.*`."""

    id: str
    preload: bool
    last_at_start: bool
    device: Literal["auto", "cuda", "mps", "cpu"]
    dtype: Literal["auto", "bfloat16", "float16", "float32"]


class OutputSection(Section):
    """The options `output.*`."""

    directory: str
    format: Literal["png", "jpeg", "webp"]
    quality: int
    metadata: bool
    mark_generated: bool
    content_credentials: bool


class StorageSection(Section):
    """The options `storage.*`."""

    images: str
    database: str


class ModelsSection(Section):
    """The options `models.*`."""

    store: str
    prepare: Literal["auto", "never"]
    folders: tuple[str, ...]
    hf_endpoint: str
    modelscope_endpoint: str
    allowed_mirrors: tuple[str, ...]


class LoraSection(Section):
    """The options `lora.*`."""

    folder: str
    civitai: bool
    use: tuple[str, ...]


class Img2imgSection(Section):
    """The options `img2img.*`."""

    denoising_strength: float


class InpaintSection(Section):
    """The options `inpaint.*`."""

    area: Literal["whole", "masked"]
    padding: int
    render_width: int | Literal["auto"]
    render_height: int | Literal["auto"]
    mask_blur: float
    mask_grow: int
    mask_invert: bool
    fill: Literal["original", "blur", "noise", "color"]
    fill_color: Literal["gray", "black", "white", "red", "yellow", "green", "cyan", "blue", "magenta"]
    boxes: tuple[str, ...]
    detector: str
    detector_confidence: float


class OutpaintSection(Section):
    """The options `outpaint.*`."""

    left: int
    right: int
    top: int
    bottom: int
    ratio: Literal["none", "1:1", "5:4", "4:3", "3:2", "16:9", "21:9", "4:5", "3:4", "2:3", "9:16"]
    overlap: int


class ControlnetSection(Section):
    """The options `controlnet.*`."""

    units: tuple[str, ...]
    preprocessor: Literal["none", "canny", "depth", "lineart", "scribble", "pose", "tile", "invert"]
    canny_low: int
    canny_high: int
    scale: float | Literal["auto"]
    start: float
    end: float


class HiresSection(Section):
    """The options `hires.*`."""

    enabled: bool
    scale: float
    denoising_strength: float
    steps: int | Literal["auto"]
    upscaler: str


class UpscaleSection(Section):
    """The options `upscale.*`."""

    mode: Literal["off", "enlarge", "detail"]
    by: float
    method: str
    denoising_strength: float
    tile: int | Literal["auto"]
    tile_overlap: int


class TextEncoderSection(Section):
    """The options `text_encoder.*`."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"]
    device: Literal["auto", "cpu", "cuda:0", "cuda:1", "cuda:2", "cuda:3"]


class TransformerSection(Section):
    """The options `transformer.*`."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"]
    use_rope: bool
    rope_scaling: Literal["auto", "none", "linear", "ntk", "yarn", "dype"]
    rope_base_resolution: int | Literal["auto"]
    rope_factor: float | Literal["auto"]
    dype_scale: float
    dype_exponent: float
    attention_backend: Literal[
        "native",
        "_native_math",
        "_native_efficient",
        "_native_flash",
        "_native_cudnn",
        "flex",
        "flash",
        "_flash_3",
        "sage",
        "xformers",
    ]
    attention_dropout: float
    max_sequence_length: int


class CfgSection(Section):
    """The options `cfg.*`."""

    normalization: float
    truncation: float


class SchedulerSection(Section):
    """The options `scheduler.*`."""

    shift: float | Literal["auto"]


class VaeSection(Section):
    """The options `vae.*`."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"]
    decoder: Literal["full", "tiny"]
    enable_tiling: bool
    tiling_mode: Literal["blend", "exact"]
    tile_sample_min_size: int
    tile_overlap_factor: float
    decoder_tiling: bool
    decoder_tile_size: int


class PrecisionSection(Section):
    """The options `precision.*`."""

    auto_retry: bool


class ResumeSection(Section):
    """The options `resume.*`."""

    interval: int


class PerformanceSection(Section):
    """The options `performance.*`."""

    cache_text: bool
    trim_text: Literal["auto", "always", "never"]
    refine_once: bool
    real_rope: Literal["auto", "always", "never"]


class CompileSection(Section):
    """The options `compile.*`."""

    enabled: bool
    mode: Literal["default", "max-autotune"]
    fullgraph: bool


class TensorrtSection(Section):
    """The options `tensorrt.*`."""

    enabled: bool


class MemorySection(Section):
    """The options `memory.*`."""

    low_vram: bool
    tier: Literal["auto", "24gb", "16gb", "12gb", "8gb", "6gb", "4gb", "cpu"]
    quantization: Literal["auto", "none", "int8", "int8_dynamic", "fp8", "fp8_storage", "nf4", "gguf"]
    offload: Literal["auto", "none", "model", "group", "disk"]
    max_split_size_mb: int | Literal["auto"]
    expandable_segments: Literal["auto", "on", "off"]
    empty_cache: bool
    reserved_mb: int


class PreviewSection(Section):
    """The options `preview.*`."""

    enabled: bool
    interval: int


class UiSection(Section):
    """The options `ui.*`."""

    language: Literal["auto", "zh", "en"]
    poll_seconds: float
    history_page_size: int
    history_view: Literal["gallery", "table"]
    size_presets: tuple[str, ...]


class WorkerSection(Section):
    """The options `worker.*`."""

    timeout: float
    unload_minutes: float
    job_log: bool
    executor: Literal["local", "ray"]
    ray_address: str
    ray_workers: int | Literal["auto"]


class GpuSection(Section):
    """The options `gpu.*`."""

    share: bool
    keep_free_mb: int
    max_temperature: int
    max_power: int
    quiet_hours: str


class CpuSection(Section):
    """The options `cpu.*`."""

    niceness: int
    share: float


class RemoteSection(Section):
    """The options `remote.*`."""

    url: str
    token: str


class ServerSection(Section):
    """The options `server.*`."""

    host: str
    port: int
    allowed_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    metrics: bool


class AccessSection(Section):
    """The options `access.*`."""

    token: str
    session_hours: float
    share_files: bool
    unlock_minutes: float


class QuotaSection(Section):
    """The options `quota.*`."""

    images_per_hour: int
    megapixels_per_hour: int
    disk_mb: int


class QueueEndSection(Section):
    """The options `queue_end.*`."""

    notify: bool
    command: str
    power: Literal["none", "sleep", "shutdown"]
    countdown_seconds: int


class WebhookSection(Section):
    """The options `webhook.*`."""

    url: str
    allowed_hosts: tuple[str, ...]


class ServiceSection(Section):
    """The options `service.*`."""

    max_pixels: int
    max_steps: int
    max_images: int
    max_batch: int
    queue_per_client: int
    queue_total: int
    inputs_mb: int
    max_body_kb: int
    wait_seconds: float
    openai_models: Literal["default", "strict"]


class Sections:
    """All options, by section. The class that inherits it has them in `values`."""

    generation: GenerationSection
    batch: BatchSection
    model: ModelSection
    output: OutputSection
    storage: StorageSection
    models: ModelsSection
    lora: LoraSection
    img2img: Img2imgSection
    inpaint: InpaintSection
    outpaint: OutpaintSection
    controlnet: ControlnetSection
    hires: HiresSection
    upscale: UpscaleSection
    text_encoder: TextEncoderSection
    transformer: TransformerSection
    cfg: CfgSection
    scheduler: SchedulerSection
    vae: VaeSection
    precision: PrecisionSection
    resume: ResumeSection
    performance: PerformanceSection
    compile: CompileSection
    tensorrt: TensorrtSection
    memory: MemorySection
    preview: PreviewSection
    ui: UiSection
    worker: WorkerSection
    gpu: GpuSection
    cpu: CpuSection
    remote: RemoteSection
    server: ServerSection
    access: AccessSection
    quota: QuotaSection
    queue_end: QueueEndSection
    webhook: WebhookSection
    service: ServiceSection
    force_original_resolution: bool

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or name == "values":
                raise AttributeError(name)
            return _section(name, self.values)


class Options(Sections, Mapping[str, Any]):
    """The options of a request by section and name, `options.vae.decoder_tile_size`, and by key as the mapping that they are."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            return _section(name, self._values)


def _section(name: str, values: Mapping[str, Any]) -> Any:
    """Return a section, or the value of an option without one. AttributeError for a name that no option has."""
    if name in values:
        return values[name]
    if any(key.startswith(f"{name}.") for key in values):
        return Section(name, values)
    raise AttributeError(f"there are no options {name}")
