"""Build one part of a pipeline from a diffusers folder, or from the tensors of a file under any known names.

Each way ends with an account: a weight that is missing is an error, and so is a tensor beside a weight that nothing explains; any
other tensor that is not used is noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from diffusers import GGUFQuantizationConfig
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm

from core.inference.weight_checks import check_values
from core.inference.weight_reading import dequantised, is_quantised, read_tensors, rows, unused_inputs
from core.models.families.base import Family
from core.models.identify import DIFFUSERS, TRANSFORMERS, Component
from core.models.part_sources import Source, files_of_source
from core.models.single_file import storage_of
from core.models.validation import family_of, is_found_by, problem, read_json
from core.models.weight_files import read_all

Weights = dict[str, torch.Tensor]

HARMLESS = re.compile(
    r"(position_ids|logit_scale|text_projection|in_proj_weight|in_proj_bias|inv_freq|lm_head\.weight|num_batches_tracked)$"
    r"|(^|\.)model_ema\."
)
_FIRST_PREFIX = {"unet": "model.diffusion_model.", "vae": "first_stage_model."}


def read_part(part: str, source: Source, skeleton: Path, dtype: torch.dtype, notes: list[str]) -> Any:
    """Return the part on the CPU in `dtype`; what is not used of its files is added to `notes`.

    Raises:
        ModelFileError: weights are missing or can't be right, or tensors beside them are not understood.
    """
    made = _read(part, source, skeleton, dtype, notes)
    check_values(part, source.path, made)
    return made


def _read(part: str, source: Source, skeleton: Path, dtype: torch.dtype, notes: list[str]) -> Any:
    if source.component is None:
        return _from_folder(part, source, skeleton, dtype, notes)
    family = family_of(skeleton, source.path.name)
    shapes = family.expected_weights(source.component, read_json(skeleton, f"{part}/config.json", source.path.name))
    if shapes is None:
        return _by_diffusers(part, source, skeleton, dtype, notes)
    weights = _by_own_names(family, source, shapes, dtype, notes)
    account(part, source.path, [name for name in shapes if name not in weights], [], set(), notes)
    if family.parts[part].library == "diffusers":
        return _diffusers_part(part, skeleton, weights, dtype)
    return _text_encoder(part, skeleton, weights, dtype, source.path)


def class_of(skeleton: Path, part: str) -> Any:
    """Return the class that a folder, which has been checked, names for a part."""
    library, name = read_json(skeleton, "model_index.json", skeleton.name)[part]
    return getattr({"diffusers": diffusers, "transformers": transformers}[library], name)


# -- folders -----------------------------------------------------------------------------------------------------------


def _from_folder(part: str, source: Source, skeleton: Path, dtype: torch.dtype, notes: list[str]) -> Any:
    """As the libraries read it; by our own reading what has scales, which they drop, or names that they do not look for."""
    kind, files = class_of(skeleton, part), files_of_source(source, part)
    quantised = "quantization_config" in read_json(source.path, "config.json", skeleton.name)
    library = "diffusers" if issubclass(kind, diffusers.ModelMixin) else "transformers"
    odd = any(storage_of(file).scales for file in files) or not is_found_by(library, source.path, source.variant)
    if odd and not quantised:
        return _read_folder(kind, source, files, dtype)
    arguments = {"dtype": dtype, "use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    made, info = kind.from_pretrained(source.path, variant=source.variant or None, **arguments)
    account(part, source.path, info["missing_keys"], info["unexpected_keys"], _modules(made), notes)
    return made


def _read_folder(kind: Any, source: Source, files: Iterable[Path], dtype: torch.dtype) -> Any:
    weights: Weights = {}
    for file in files:
        unused = storage_of(file).unused
        weights |= read_tensors(file, [name for name in read_all(file).tensors if name not in unused], dtype)
    if issubclass(kind, diffusers.ModelMixin):
        with init_empty_weights():
            made = kind.from_config(kind.load_config(source.path))
    else:
        with init_empty_weights():
            made = kind(kind.config_class.from_pretrained(source.path))
        made.config.dtype = dtype
        prefix = f"{made.base_model_prefix}."
        own = set(made.state_dict())
        weights = {name if name in own else name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return fill(made, weights, source.path)


# -- files -------------------------------------------------------------------------------------------------------------


def _stored(component: Component, file: Path) -> list[str]:
    unused = storage_of(file).unused
    return [name for name in read_all(file).tensors if name.startswith(component.prefix) and name not in unused]


def _by_own_names(
    family: Family, source: Source, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, notes: list[str]
) -> Weights:
    """Return the weights by the names of the part's class; matrices that a GGUF file stores quantised stay so."""
    component, file = source.component, source.path
    assert component is not None
    weights: Weights = {}
    for name, tensor in read_tensors(file, _stored(component, file), dtype).items():
        found = family.weight_names(component, name.removeprefix(component.prefix))
        if any(target not in shapes for target in found):
            notes.append(name)
            continue
        if family.halves_swapped(component, name.removeprefix(component.prefix)):
            tensor = torch.cat(dequantised(tensor, dtype).chunk(2)[::-1])
        for index, target in enumerate(found):
            piece = tensor if len(found) == 1 else rows(tensor, index, len(found))
            piece = piece if _is_multiplied(target, shapes[target]) else dequantised(piece, dtype)
            weights[target] = piece if is_quantised(piece) else piece.reshape(shapes[target])
    return weights


def _is_multiplied(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a weight is a linear layer's matrix: not a token of its own, nor a table that is looked up by row."""
    return name.endswith(".weight") and len(shape) == 2 and "embed_tokens" not in name


def _diffusers_part(part: str, skeleton: Path, weights: Weights, dtype: torch.dtype) -> Any:
    kept = any(is_quantised(tensor) for tensor in weights.values())
    given = {"quantization_config": GGUFQuantizationConfig(compute_dtype=dtype)} if kept else {}
    here = {"config": str(skeleton), "subfolder": part, "local_files_only": True}
    return class_of(skeleton, part).from_single_file(weights, dtype=dtype, **here, **given)


def _text_encoder(part: str, skeleton: Path, weights: Weights, dtype: torch.dtype, file: Path) -> Any:
    """Return the model without a head for writing text."""
    config = transformers.AutoConfig.from_pretrained(skeleton / part, local_files_only=True)
    config.dtype = dtype
    with init_empty_weights():
        made = transformers.AutoModel.from_config(config)
    if any(is_quantised(tensor) for tensor in weights.values()):
        from diffusers.quantizers.gguf.utils import _replace_with_gguf_linear

        _replace_with_gguf_linear(made, dtype, weights)
    return fill(made, weights, file)


def fill(made: Any, weights: Mapping[str, torch.Tensor], file: Path) -> Any:
    """Give an empty model its weights; ModelFileError unless they are exactly its own."""
    own = made.state_dict()
    missing = [name for name in own if name not in weights and not _is_tied(made, name)]
    unexpected = [name for name in weights if name not in own]
    account("model", file, missing, unexpected, _modules(made), [])
    for name, tensor in weights.items():
        if name in own:
            _put(made, name, tensor, own[name].shape)
    if hasattr(made, "tie_weights"):
        made.tie_weights()
    return made.eval()


def _is_tied(made: Any, name: str) -> bool:
    return name == "lm_head.weight" and bool(getattr(getattr(made, "config", None), "tie_word_embeddings", False))


def _put(made: Any, name: str, tensor: torch.Tensor, shape: torch.Size) -> None:
    path, _, last = name.rpartition(".")
    module = made.get_submodule(path)
    if last in module._buffers:
        module._buffers[last] = tensor
        return
    kept = is_quantised(tensor)
    module._parameters[last] = tensor if kept else torch.nn.Parameter(tensor.reshape(shape), requires_grad=False)


def _by_diffusers(part: str, source: Source, skeleton: Path, dtype: torch.dtype, notes: list[str]) -> Any:
    """Return a U-Net, VAE or CLIP by diffusers' own conversion from the first names, or by its own names."""
    component, file = source.component, source.path
    assert component is not None
    stored = {
        name: dequantised(tensor, dtype) for name, tensor in read_tensors(file, _stored(component, file), dtype).items()
    }
    by_new = {_first_name(part, component, name): name for name in stored}
    weights = {new: stored[old] for new, old in by_new.items()}
    kind = class_of(skeleton, part)
    here: dict[str, Any] = {"config": str(skeleton), "subfolder": part, "local_files_only": True}
    if part.startswith("text_encoder") and component.layout == TRANSFORMERS:
        with init_empty_weights():
            made = kind(kind.config_class.from_pretrained(skeleton / part, local_files_only=True))
        made.config.dtype = dtype
        own = set(made.state_dict())
        return fill(made, {name: tensor for name, tensor in _clip_names(weights, own).items() if name in own}, file)
    if part.startswith("text_encoder"):
        make = partial(create_diffusers_clip_model_from_ldm, kind, checkpoint=dict(weights), torch_dtype=dtype, **here)
    else:
        make = partial(kind.from_single_file, dict(weights), dtype=dtype, **here)
    made = _checked(make, part, file)
    unused = [by_new[name] for name in unused_inputs(weights, made)]
    account(part, file, [], unused, {name.rpartition(".")[0] for name in stored if name not in set(unused)}, notes)
    return made


def _checked(make: Any, part: str, file: Path) -> Any:
    try:
        made = make()
    except (NotImplementedError, KeyError) as error:  # torch's, for a weight that is in no memory; the conversion's
        raise problem(file.name, file.name, "weights_missing", part=part, count="1", name=_named(error)) from error
    missing = [name for name, weight in made.named_parameters() if weight.is_meta]
    account(part, file, missing, [], set(), [])
    return made


def _named(error: Exception) -> str:
    return str(error.args[0])[:120] if isinstance(error, KeyError) and error.args else "*"


def _first_name(part: str, component: Component, name: str) -> str:
    """Return the name that diffusers' conversion looks for."""
    own = name.removeprefix(component.prefix)
    if component.layout in (DIFFUSERS, TRANSFORMERS):
        return own
    if part == "text_encoder" and component.prefix.startswith("cond_stage_model.transformer."):
        return f"cond_stage_model.transformer.text_model.{own}"
    return _FIRST_PREFIX[part] + own if part in _FIRST_PREFIX else name


def _clip_names(weights: Weights, own: set[str]) -> Weights:
    """transformers has had CLIP's names with and without `text_model.`."""
    plain = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    return {name: plain[name.removeprefix("text_model.")] for name in own if name.removeprefix("text_model.") in plain}


# -- the account -------------------------------------------------------------------------------------------------------


def _modules(made: Any) -> set[str]:
    return {name for name, module in made.named_modules() if next(module.parameters(recurse=False), None) is not None}


def account(
    part: str, file: Path, missing: Iterable[str], unexpected: Iterable[str], modules: set[str], notes: list[str]
) -> None:
    """Raise ModelFileError for weights that are missing or not understood; note the others that are not used."""
    gone = list(missing)
    if gone:
        raise problem(file.name, file.name, "weights_missing", part=part, count=str(len(gone)), name=gone[0])
    strange = [name for name in unexpected if not HARMLESS.search(name)]
    near = [name for name in strange if (at := name.rpartition(".")[0]) in modules or at.endswith((".weight", ".bias"))]
    if near:
        raise problem(file.name, file.name, "weights_unknown", part=part, count=str(len(near)), name=near[0])
    notes.extend(strange)
