"""Describe a model family without torch: its parts and classes, defaults, limits, files, and what does not apply to it.

Pages, the catalogue and the queue read descriptions; what computes is in the family's `backend.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.config.prompt_weights import CLIP_SKIP, SYNTAX
from core.config.samplers import Prediction
from core.i18n import localize
from core.models.identify import Component
from core.models.weight_files import Header, Tensor
from core.types import CONTROL, REFERENCES

Text = Mapping[str, str]  # language -> sentence
Tensors = Mapping[str, Tensor]  # name -> shape and dtype, as a file's header has them

TEXT_TOKENS = 128  # of a prompt, about, among those of the image
CONTROLNET = "controlnet"  # the part that a family with a ControlNet has besides


@dataclass(frozen=True)
class Part:
    """One component: its library, its allowed classes, its configuration file, and whether it has weights."""

    library: str
    classes: tuple[str, ...]
    config: str = "config.json"
    weights: bool = True

    @property
    def generic(self) -> tuple[str, ...]:
        """Return transformers' own classes that stand for any: the first of `classes` is taken in their place."""
        if self.library != "transformers":
            return ()
        return ("AutoModel",) if self.weights else ("AutoTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend")


@dataclass(frozen=True)
class Single:
    """A single file or the folder of a ControlNet.

    `pipeline`: the class that it makes with its base. `parts`: those that it has. `shape`: what the base must have, too.
    `whole`: a checkpoint with all parts, which needs a frame (see CheckpointLayout) in place of a base. `components`: where in
    the file each part is.
    """

    pipeline: str
    parts: tuple[str, ...]
    shape: tuple[int, ...]
    whole: bool = False
    components: Mapping[str, Component] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointLayout:
    """A whole model in one file: the prefix of each part's tensor names, and its frame.

    A frame is a diffusers folder without weights, which says how the published shape is built.
    """

    prefixes: Mapping[str, str]  # part -> prefix
    frame: Path


@dataclass(frozen=True)
class ControlNetUse:
    """How the pipeline takes a ControlNet: its default scale, and the name of the argument for the control image.

    `window`: whether the pipeline has `control_guidance_start` and `control_guidance_end` itself. `over`: the name of the argument
    in the img2img and inpaint classes. `several`: whether it takes more than one control image. `union`: whether each has a type,
    the argument `control_mode`. `modes`: whether A1111's control modes can be had.
    """

    scale: float
    argument: str
    window: bool
    over: str = "control_image"
    several: bool = False
    union: bool = False
    modes: bool = False


Shape = tuple[int, ...]  # of a weight: (out, in) of a linear layer, (out, in, height, width) of a convolution
Modules = Mapping[str, Shape]  # the layers of one part, by their names in diffusers or transformers
LORA_PREFIXES = (  # regular expressions of what published files put before the names of a denoiser's layers
    r"base_model\.model\.", r"transformer\.", r"(model\.)?diffusion_model\.", r"unet\.", r"(pipe\.)?dit\.",
    r"(model|module|net)\.", r"lora_unet_+(model_diffusion_model_)?", r"lora_(transformer|dit)_+",
    r"lycoris_(unet_|transformer_)?", r"lora_unet\.", r"transformer_+(?!blocks)", r"(model_)?diffusion_model_+",
)  # fmt: skip


@dataclass(frozen=True)
class Alias:
    """Another name of a layer; `rows` is its range of output rows in a stacked layer."""

    name: str
    module: str
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class LoraPart:
    """The names that published LoRAs use for the layers of one part of a pipeline.

    `prefixes`: regular expressions for what may stand before a layer's name; each is tried at the beginning, repeatedly.
    `aliases` yields the published names of the layers of a network. `plain` turns the names in a weight file of that part into
    diffusers' names, with the shapes that the loaded layers have.
    """

    part: str
    prefixes: tuple[str, ...]
    aliases: Callable[[Modules], Iterator[Alias]]
    plain: Callable[[Modules], Modules]


@dataclass(frozen=True)
class LoraNames:
    """The names of a family's layers in published LoRAs.

    `parts` are those on which a LoRA may act, the denoiser first. `layers` matches any layer of the denoiser, with underscores for
    dots; of those that match `width`, the input width tells two models of one family apart. `kind` is the same for families whose
    LoRAs have the same names; `labels` says by the width what users call the LoRA, `label` where no width tells.
    `text_layers` matches the layers of a LoRA that has text encoders alone. `certain` matches "layer:input width" of a layer that
    no other family has, for families whose other layers have names like those of families that are not supported.
    """

    kind: str
    label: str
    layers: re.Pattern[str]
    width: re.Pattern[str]
    parts: tuple[LoraPart, ...]
    labels: Mapping[int, str] = field(default_factory=dict)
    text_layers: re.Pattern[str] | None = None
    certain: re.Pattern[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """A pipeline class of diffusers and its properties. Subclasses override methods.

    `folder`: the package below `core/models/families`, whose `backend.py` runs it.
    `cfg_offset`: CFG minus what the pipeline's own `guidance_scale` means (1 where the pipeline counts from 0 = off).
    `cannot`: prefix of an option's key -> the reason why the option does nothing here.
    `arguments`: for the constructors of the pipeline and of its img2img and inpaint classes.
    `plain`: of a family with a ControlNet, the pipeline class that has all other parts.
    `kin`: the pipeline classes whose single files can't be told from this one's; the base decides which it is.
    """

    folder: str
    pipeline: str
    label: str
    parts: Mapping[str, Part]
    denoiser: str  # the part that removes the noise: "transformer" or "unet"
    prediction: Prediction  # which samplers apply: see core.config.samplers
    size_multiple: int  # px
    steps: int  # default
    cfg_scale: float  # default, 1 = off
    width: int  # of the published models; see ModelInfo.width
    lora: LoraNames
    cfg_offset: float = 0.0
    img2img: str | None = None
    inpaint: str | None = None
    takes_strength: bool = True  # of its img2img and inpaint classes; without one all steps are run, from noise alone
    arguments: Mapping[str, Any] = field(default_factory=dict)
    embeddings: tuple[str, ...] = ()  # the text encoders that take textual inversion embeddings
    tiny_decoder: str = ""  # the AutoencoderTiny for its latents; "" where previews can't read them
    unused: tuple[str, ...] = ()  # parts that a folder may have and that are never read
    cannot: Mapping[str, Text] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()  # the roles of the input images that it takes
    masked_references: int = len(REFERENCES)  # how many further images an edit within a mask takes
    needs: tuple[str, ...] = ()  # those of them without which it can't run
    # What is put around a prompt for a text encoder that is a language model, as far as it counts against its limit.
    template: tuple[str, str] = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
    controlnet: ControlNetUse | None = None
    plain: str | None = None
    kin: tuple[str, ...] = ()
    checkpoint: CheckpointLayout | None = None
    frame: Path | None = None  # a shipped folder without weights, which says how the published model is built
    default: bool = False  # exactly one family: assumed for models that are not downloaded and say nothing

    @property
    def edits(self) -> bool:
        """Return True where the pipeline changes images by instruction, beside further ones, with no mask or img2img class."""
        return REFERENCES[0] in self.inputs

    @property
    def weighty(self) -> tuple[str, ...]:
        """Return the parts that have weights."""
        return tuple(name for name, part in self.parts.items() if part.weights)

    # -- limits and defaults -------------------------------------------------------------------------------------------

    def max_side(self, folder: Path | None) -> int:
        """Return the longest side in pixels that the model in `folder` can generate."""
        raise NotImplementedError

    def native_side(self, folder: Path | None) -> int:
        """Return the side in pixels of the square that the model in `folder` was made for."""
        raise NotImplementedError

    def model_width(self, folder: Path | None) -> int | None:
        """Return the width that a LoRA must have; the family's own for a model that is not downloaded."""
        raise NotImplementedError

    def steps_run(self, steps: int, strength: float) -> int:
        """Return how many of `steps` its img2img runs at `strength` (0 to 1): rounded down, as most pipelines do."""
        return min(int(steps * strength), steps)

    # -- work ----------------------------------------------------------------------------------------------------------

    def step_flops(self, parameters: int, config: Mapping[str, Any], pixels: int) -> float:
        """Return the floating point operations of one evaluation of the denoiser, with so many parameters, at a size.

        Of a transformer: two for each parameter and token, and four for each pair of tokens and each channel of each layer.
        """
        tokens = pixels / self.size_multiple**2 + TEXT_TOKENS
        return 2.0 * parameters * tokens + 4.0 * self.attention_channels(config) * tokens**2

    def attention_channels(self, config: Mapping[str, Any]) -> int:
        """Return the width of attention summed over the layers in which all tokens attend to all."""
        return 0

    # -- single files --------------------------------------------------------------------------------------------------

    def detect_file(self, tensors: Tensors) -> Single | None:
        """Recognise a single weight file of this family by its tensor names; None when it is none."""
        return None

    def foreign_kind(self, tensors: Tensors) -> str | None:
        """Name the kind of a file that has this family's layout and can't be used; asked when no family recognises it."""
        return None

    def denoiser_shape(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the numbers of a denoiser's config that a single file's `shape` must begin with or equal."""
        return ()

    def fits_network(self, config: Mapping[str, Any]) -> bool:
        """Return True for the config.json of a ControlNet that this family's pipeline takes."""
        part = self.parts.get(CONTROLNET)
        return part is not None and config.get("_class_name") in part.classes

    def network_shape(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the shape that a ControlNet's base must have, too."""
        return self.denoiser_shape(config)

    def network_config(self, tensors: Tensors, denoiser: Mapping[str, Any], refines: bool) -> dict[str, Any] | None:
        """Build the config of a ControlNet in one file, which has none; None when its layers can't be placed.

        `refines`: whether the first layer of a `control_noise_refiner` has weights other than 0, which no header tells.
        """
        return None

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def scheduler_changes(self, header: Header) -> Mapping[str, Any]:
        """Return what a checkpoint's own marks change of its scheduler's configuration; `_class_name` names another class."""
        return {}

    # -- names of weights ----------------------------------------------------------------------------------------------

    def expected_weights(self, component: Component, config: Mapping[str, Any]) -> Mapping[str, tuple[int, ...]] | None:
        """Return each weight of a part with its shape, by the names of its class; None where only loading can tell."""
        return None

    def weight_names(self, component: Component, name: str) -> tuple[str, ...]:
        """Return the names of its class for a stored tensor without its prefix: several for parts of equal rows, () for none."""
        return (name,)

    def halves_swapped(self, component: Component, name: str) -> bool:
        """Return True for a stored tensor whose lower half of rows comes first in its class."""
        return False

    def fits_part(self, component: Component) -> bool:
        """Return True when a part that lies in a file of its own can be this family's, as far as its kind tells."""
        return False


def with_controlnet(plain: Family, pipeline: str, network: str, use: ControlNetUse, **changes: Any) -> Family:
    """Return the description of `plain` with a ControlNet of the class `network`, run by the class `pipeline`."""
    values = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    parts = {**plain.parts, CONTROLNET: Part("diffusers", (network,))}
    cannot = {start: reason for start, reason in plain.cannot.items() if start not in NO_OWN_CONTROLNET}
    cannot["controlnet.units"] = OWN_CONTROLNET
    values |= {
        "pipeline": pipeline, "label": f"{plain.label} ControlNet", "parts": parts, "cannot": cannot, "inputs": (CONTROL,),
        "controlnet": use, "plain": plain.pipeline, "img2img": None, "inpaint": None, "checkpoint": None, "frame": None,
        "default": False,
    }  # fmt: skip
    return type(plain)(**{**values, **changes})


def read_config(file: Path) -> dict[str, Any]:
    """Read a JSON file; {} when there is none."""
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


CLIP_ONLY = localize("models.families.base.clip_only")
_PLAIN_TRANSFORMER = localize("models.families.base.plain_transformer")
PLAIN_CANNOT: Mapping[str, Text] = {  # of a transformer that runs as diffusers has it, with a shift by the size
    "transformer.use_rope": _PLAIN_TRANSFORMER,
    "transformer.rope_": _PLAIN_TRANSFORMER,
    "transformer.dype_": _PLAIN_TRANSFORMER,
    "transformer.attention_": _PLAIN_TRANSFORMER,
    "performance.": _PLAIN_TRANSFORMER,
    "compile.": _PLAIN_TRANSFORMER,
    "tensorrt.": _PLAIN_TRANSFORMER,
    SYNTAX: CLIP_ONLY,
    CLIP_SKIP: CLIP_ONLY,
    "cfg.": localize("models.families.base.no_cfg_options"),
    "scheduler.shift": localize("models.families.base.dynamic_shift"),
}
NO_CONTROLNET = localize("models.families.base.no_controlnet")
OWN_CONTROLNET = localize("models.families.base.own_controlnet")
NO_OWN_CONTROLNET: Mapping[
    str, Text
] = {  # options of a model's own ControlNet, for models that take those of `controlnet.units`
    f"controlnet.{name}": localize("models.families.base.units_only")
    for name in ("preprocessor", "canny_", "scale", "start", "end")
}
