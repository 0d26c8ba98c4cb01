"""Read what a LoRA file is from its header: layers, algorithm, scaling, family, trigger words.

Nothing in a header is executed or used as a pattern: layers are derived from the names of tensors, and of the notes that trainers
leave only numbers and texts are taken.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.models.families import FAMILIES
from core.models.families.base import LORA_PREFIXES
from core.models.lora_kinds import FOREIGN, OTHER_FILES, TEXT
from core.models.weight_files import SAFETENSORS, BadFile, Tensor, read_header, read_notes

LONGEST_HEADER = 16_000_000  # bytes; real ones have up to 1 MB of layers, and some MB of captions in their metadata
MOST_TENSORS = 30_000
LONGEST_NAME = 1_000  # characters of a tensor's name
PEFT_NOTES = "lora_adapter_metadata"  # where diffusers writes how an adapter was made, as JSON
PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"  # peft's own way of saving
MOST_NOTES = 4_000_000  # bytes of one note that is read as JSON
LORA, LOKR, LOHA, FULL = "LoRA", "LoKr", "LoHa", "full"

_SLOT = r"(?:\.[A-Za-z0-9_-]+)?"  # peft's name of the adapter, when it was saved with it
_ROLE_ENDS = (  # what a tensor is within its layer, by the end of its name
        ("down", rf"(?:_lora)?\.(?:lora_A|lora_down|lora\.down|lora_linear_layer\.down|down){_SLOT}\.weight"),
        ("up", rf"(?:_lora)?\.(?:lora_B|lora_up|lora\.up|lora_linear_layer\.up|up){_SLOT}\.weight"),
        ("mid", r"\.lora_mid\.weight"),
        ("up_bias", rf"\.(?:lora_B|lora_up){_SLOT}\.bias"),
        ("magnitude", rf"\.(?:dora_scale|lora_magnitude_vector{_SLOT}(?:\.weight)?)"),
        ("alpha", r"(?:_lora)?\.(?:lora_)?alpha"), ("scalar", r"\.scalar"),
        ("lokr_w1", rf"\.lokr_w1{_SLOT}"), ("lokr_w2", rf"\.lokr_w2{_SLOT}"),
        ("lokr_w1_a", rf"\.lokr_w1_a{_SLOT}"), ("lokr_w1_b", rf"\.lokr_w1_b{_SLOT}"),
        ("lokr_w2_a", rf"\.lokr_w2_a{_SLOT}"), ("lokr_w2_b", rf"\.lokr_w2_b{_SLOT}"), ("lokr_t2", rf"\.lokr_t2{_SLOT}"),
        ("hada_w1_a", rf"\.hada_w1_a{_SLOT}"), ("hada_w1_b", rf"\.hada_w1_b{_SLOT}"),
        ("hada_w2_a", rf"\.hada_w2_a{_SLOT}"), ("hada_w2_b", rf"\.hada_w2_b{_SLOT}"),
        ("hada_t1", rf"\.hada_t1{_SLOT}"), ("hada_t2", rf"\.hada_t2{_SLOT}"),
        ("diff", r"\.diff"),
)  # fmt: skip
_ROLE = re.compile("|".join(f"(?P<{role}>{pattern}$)" for role, pattern in _ROLE_ENDS))
_UNREAD = (  # algorithms that are not read, by the end of a tensor's name
    ("OFT or BOFT", re.compile(r"\.(oft_blocks|oft_diag|oft_R|boft_R|boft_s|oft_s)\b.*$")),
    ("GLoRA", re.compile(r"\.[ab][12]\.weight$")),
    ("IA3", re.compile(r"\.(on_input|ia3_l)$")),
    ("VeRA or VB-LoRA", re.compile(r"\.(vera_lambda_[bd]|vblora_.*)$")),
    ("bias", re.compile(r"\.(diff_b|lora_A(?:\.[A-Za-z0-9_-]+)?\.bias)$")),
    ("normalisation", re.compile(r"\.(w_norm|b_norm)$")),
    ("replaced", re.compile(r"\.(set_weight|reshape_weight)$")),
)
_WRAPPERS = re.compile(r"_orig_mod\.|_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.")  # torch.compile, FSDP, checkpointing
EMBEDDINGS = re.compile(r"^bundle_emb\.([^.]+)\.")
_CHANGED_BASE = re.compile(r"(pissa|olora|corda|loftq|lora_ga|mica)", re.IGNORECASE)


@dataclass(frozen=True)
class Layer:
    """One layer of a LoRA file.

    `tensors` maps roles (down, up, lokr_w1, ...) to names in the file. `rows` and `columns` are the shape of the weight that it
    changes, with a convolution's kernel in the columns. `alpha` is a number from the notes, where no tensor gives it.
    """

    algorithm: str
    tensors: Mapping[str, str]
    rows: int
    columns: int
    rank: int | None
    alpha: float | None = None
    root: bool = False  # rank-stabilised: divided by the root of the rank


@dataclass(frozen=True)
class LoraHeader:
    """What a LoRA file holds.

    `layers` by their published names. `unread` maps names of layers to the algorithm that is not read. `family` is what it was made
    for; `kind` and `width` are as `lora_kind` and `width` in ModelInfo, None for a family that can't be used here.
    """

    layers: Mapping[str, Layer]
    unread: Mapping[str, str] = field(default_factory=dict)
    embeddings: tuple[str, ...] = ()
    family: str | None = None
    kind: str | None = None
    width: int | None = None
    layout: str = ""
    dtype: str = ""
    triggers: tuple[str, ...] = ()
    title: str = ""
    base_model: str = ""

    @property
    def rank(self) -> int | None:
        """Return the largest rank of a layer."""
        return max((layer.rank for layer in self.layers.values() if layer.rank), default=None)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Return the algorithms that are read, most frequent first, with DoRA apart from LoRA."""
        names = ["DoRA" if "magnitude" in layer.tensors else layer.algorithm for layer in self.layers.values()]
        return tuple(sorted(set(names), key=lambda name: -names.count(name)))


class ForeignFile(BadFile):
    """A file that is something else than a LoRA, or a LoRA of another family or algorithm; `what` names it."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(kind)
        self.what = what


def read_lora(path: Path) -> LoraHeader:
    """Read a header. Raises BadFile with one of the kinds of `LORA_PROBLEMS` when the file can't be used."""
    if path.suffix.lower() != SAFETENSORS:
        read_header(path)  # a pickle is called one
        raise BadFile("header")
    try:
        _check_size(path)
        tensors = read_header(path)
        notes = read_notes(path)
    except (OSError, BadFile):
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError, OverflowError):
        raise BadFile("header") from None
    if not tensors or len(tensors) > MOST_TENSORS:
        raise BadFile("tensors" if not tensors else "large")
    return parse(tensors, notes, _peft_config(path))


def _check_size(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(8)
    if start[:4] == b"GGUF":
        raise BadFile("header")
    if len(start) == 8 and LONGEST_HEADER < int.from_bytes(start, "little") <= path.stat().st_size - 8:
        raise BadFile("large")


def _peft_config(path: Path) -> Mapping[str, Any]:
    """Return what peft's own adapter_config.json beside an adapter_model.safetensors says, {} without one."""
    file = path.with_name(PEFT_CONFIG)
    if path.name != PEFT_FILE or not file.is_file() or file.stat().st_size > MOST_NOTES:
        return {}
    return _json(file.read_text(encoding="utf-8", errors="replace"))


def _json(text: str) -> Mapping[str, Any]:
    """Return a JSON object; {} for anything else."""
    if len(text) > MOST_NOTES:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def parse(
    tensors: Mapping[str, Tensor], notes: Mapping[str, str], config: Mapping[str, Any] | None = None
) -> LoraHeader:
    """Return what these tensors and notes are. `config` is peft's adapter_config.json. Raises BadFile."""
    grouped, unread, embeddings, rest = _sorted(tensors)
    scaling = _Scaling(notes, config or {})
    layers: dict[str, Layer] = {}
    for name, roles in grouped.items():
        layer = _layer(name, roles, tensors, scaling)
        if isinstance(layer, str):
            unread[name] = layer
        elif layer is not None:
            layers[name] = layer
    if rest and not (layers or unread):
        raise _foreign_file(rest)
    if rest:
        foreign = next(
            (what for what, pattern in OTHER_FILES[1:2] if any(re.match(pattern, name) for name in rest)), None
        )
        if foreign or any(name.endswith(".weight") and _is_whole(name, tensors[name]) for name in rest):
            raise ForeignFile("foreign", foreign) if foreign else BadFile("tensors")
        unread.update(dict.fromkeys(rest, "unknown"))
    if not layers and not unread:
        raise ForeignFile("foreign", "textual_inversion")
    if not layers:
        raise ForeignFile("algorithm", ", ".join(sorted(set(unread.values()))))
    family, kind, width = _made_for(layers)
    return LoraHeader(
        layers=layers,
        unread=unread,
        embeddings=embeddings,
        family=family,
        kind=kind,
        width=width,
        layout=_layout(layers),
        dtype=_dtype(layers, tensors),
        triggers=_triggers(notes),
        title=_text(notes, "modelspec.title", "ss_output_name"),
        base_model=_text(notes, "modelspec.architecture", "ss_base_model_version"),
    )


# -- tensors into layers -----------------------------------------------------------------------------------------------


def _sorted(
    tensors: Mapping[str, Tensor],
) -> tuple[dict[str, dict[str, str]], dict[str, str], tuple[str, ...], list[str]]:
    """Return tensors by layer and role, layers that are not read, embedded embeddings, and everything else."""
    grouped: dict[str, dict[str, str]] = {}
    unread: dict[str, str] = {}
    embeddings: set[str] = set()
    rest: list[str] = []
    for name in tensors:
        if len(name) > LONGEST_NAME:
            raise BadFile("header")
        if found := EMBEDDINGS.match(name):
            embeddings.add(found[1])
            continue
        if (found := _ROLE.search(name)) and found.start():
            roles = grouped.setdefault(_plain_name(name[: found.start()]), {})
            if roles.setdefault(str(found.lastgroup), name) != name:
                raise BadFile("tensors")  # two adapters in one file
            continue
        other = next(((what, match) for what, pattern in _UNREAD if (match := pattern.search(name))), None)
        if other is not None and other[1].start():
            unread[name[: other[1].start()]] = other[0]
        else:
            rest.append(name)
    rest = [
        name for name in rest if _layer_of(name) not in unread
    ]  # IA3 has a plain `.weight` beside what it is known by
    for name in [name for name, roles in grouped.items() if name in unread and set(roles) <= {"alpha", "scalar"}]:
        del grouped[name]
    return grouped, unread, tuple(sorted(embeddings)), rest


def _plain_name(name: str) -> str:
    """Return a layer's name without what is put in between: early diffusers' attention processor, torch.compile's wrapper."""
    return re.sub(r"\.processor\.(to_(?:q|k|v|out))$", r".\1", _WRAPPERS.sub("", name))


def _layer_of(name: str) -> str:
    return name.rpartition(".")[0]


def _layer(name: str, roles: dict[str, str], tensors: Mapping[str, Tensor], scaling: _Scaling) -> Layer | str | None:
    """Return a layer, or what is not read about it; None for an alpha alone. Raises BadFile for shapes that don't match."""
    shapes = {role: tensors[tensor].shape for role, tensor in roles.items()}
    if set(roles) <= {"alpha", "scalar"}:
        return None
    alpha, root = scaling.of(name)
    dora = "magnitude" in roles
    if "down" in roles or "up" in roles:
        size = _lora_shape(shapes)
        if dora and (math.prod(shapes["magnitude"]) != size[0] or _is_row(shapes["magnitude"])):
            return "dora_inputs"
        return Layer(LORA, roles, *size, shapes["down"][0], alpha, root)
    if any(role.startswith(("lokr_", "hada_")) for role in roles) and dora:
        return "lycoris_dora"
    if any(role.startswith("lokr_") for role in roles):
        rows, columns, rank = _lokr_shape(shapes)
        rank = rank or scaling.lokr_rank(name)
        return Layer(LOKR, roles, rows, columns, rank, alpha if rank else None, root)
    if any(role.startswith("hada_") for role in roles):
        rows, columns, rank = _loha_shape(shapes)
        return Layer(LOHA, roles, rows, columns, rank, alpha, root)
    if "diff" in roles:
        shape = shapes["diff"]
        return Layer(FULL, roles, shape[0], math.prod(shape[1:]), None) if len(shape) > 1 else "normalisation"
    raise BadFile("tensors")


def _is_row(shape: tuple[int, ...]) -> bool:
    """Tell whether a magnitude has one value for each column: (1, in), as LyCORIS had it before 3.1."""
    return len(shape) > 1 and shape[0] == 1 and shape[1] > 1


def _lora_shape(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    down, up = shapes.get("down", ()), shapes.get("up", ())
    if min(len(down), len(up)) < 2 or not math.prod(down) or not math.prod(up):
        raise BadFile("tensors")
    if "mid" in shapes:  # a convolution in three: 1 x 1, the kernel, 1 x 1
        mid = shapes["mid"]
        if len(mid) != 4 or mid[:2] != (up[1], down[0]) or math.prod(down[2:]) != 1:
            raise BadFile("tensors")
        return up[0], down[1] * math.prod(mid[2:])
    if down[0] != up[1] or math.prod(up[2:]) != 1:
        raise BadFile("tensors")
    return up[0], math.prod(down[1:])


def _lokr_shape(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int, int | None]:
    """Return rows, columns, and the rank where a factor is itself a product."""
    try:
        rank: int | None = None
        if "lokr_w1" in shapes:
            first = shapes["lokr_w1"][:2]
        else:
            first, rank = (shapes["lokr_w1_a"][0], shapes["lokr_w1_b"][1]), shapes["lokr_w1_b"][0]
        if "lokr_w2" in shapes:
            whole = shapes["lokr_w2"]
            second = (whole[0], math.prod(whole[1:]))
        elif "lokr_t2" in shapes:
            kernel = math.prod(shapes["lokr_t2"][2:])
            second, rank = (shapes["lokr_w2_a"][1], shapes["lokr_w2_b"][1] * kernel), shapes["lokr_w2_b"][0]
        else:
            second, rank = (shapes["lokr_w2_a"][0], math.prod(shapes["lokr_w2_b"][1:])), shapes["lokr_w2_b"][0]
        rows, columns = first[0] * second[0], first[1] * second[1]
    except (KeyError, IndexError):
        raise BadFile("tensors") from None
    if not rows * columns:
        raise BadFile("tensors")
    return rows, columns, rank


def _loha_shape(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int, int]:
    try:
        halves = []
        for half, core in (("1", "hada_t1"), ("2", "hada_t2")):
            left, right = shapes[f"hada_w{half}_a"], shapes[f"hada_w{half}_b"]
            if core in shapes:
                halves.append((left[1], right[1] * math.prod(shapes[core][2:]), right[0]))
            else:
                halves.append((left[0], math.prod(right[1:]), right[0]))
    except (KeyError, IndexError):
        raise BadFile("tensors") from None
    if halves[0][:2] != halves[1][:2] or not math.prod(halves[0]):
        raise BadFile("tensors")
    return halves[0]


def _is_whole(name: str, tensor: Tensor) -> bool:
    """Tell whether a tensor is a weight of a whole model rather than of a LoRA."""
    return len(tensor.shape) >= 2


def _foreign_file(names: list[str]) -> BadFile:
    what = next((what for what, pattern in OTHER_FILES if any(re.match(pattern, name) for name in names)), None)
    return ForeignFile("foreign", what) if what else BadFile("tensors")


# -- scaling -----------------------------------------------------------------------------------------------------------


class _Scaling:
    """The alpha that peft's notes give to a layer, as numbers by name; a tensor of its own goes before it."""

    def __init__(self, notes: Mapping[str, str], config: Mapping[str, Any]) -> None:
        peft = _json(notes.get(PEFT_NOTES, "{}"))
        if notes.get(PEFT_NOTES, "").strip() not in ("", "{}") and not peft:
            raise BadFile("notes")
        self._parts: dict[str, dict[str, Any]] = {}
        for key, value in peft.items():
            part, _, option = str(key).rpartition(".")
            self._parts.setdefault(part, {})[option] = value
        if config:
            self._parts.setdefault("", {}).update(config)
        for options in self._parts.values():
            _check_options(options)

    def of(self, name: str) -> tuple[float | None, bool]:
        """Return (alpha, whether it is divided by the root of the rank) of a layer."""
        text = TEXT.match(name)
        wanted = next((part for part in self._parts if part and name.startswith(f"{part}.")), None)
        if wanted is None:
            mains = [part for part in self._parts if not part.startswith("text_encoder")]
            wanted = mains[0] if mains and not text else None
        if wanted is None:
            return None, False
        options = self._parts[wanted]
        alpha = next((value for key, value in _pattern(options, "alpha_pattern") if _ends_with(name, key)), None)
        found = alpha if alpha is not None else options.get("lora_alpha", self._own_alpha(options))
        usable = isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)
        return (float(found) if usable else None), bool(options.get("use_rslora")) and usable  # type: ignore[arg-type]

    @staticmethod
    def _own_alpha(options: Mapping[str, Any]) -> Any:
        """peft's LoKr and LoHa name it otherwise than its LoRA does."""
        return options.get("alpha") if options.get("peft_type") in ("LOKR", "LOHA") else None

    def lokr_rank(self, name: str) -> int | None:
        """Return the rank by which peft divides alpha of a LoKr layer, also where no factor is a product; None for LyCORIS."""
        options = next((one for one in self._parts.values() if one.get("peft_type") == "LOKR"), {})
        ranks = (value for key, value in _pattern(options, "rank_pattern") if _ends_with(name, key))
        rank = next(ranks, options.get("r"))
        return rank if isinstance(rank, int) and not isinstance(rank, bool) and rank > 0 else None


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise BadFile for an adapter that acts right on a changed model only, or in a way that its tensors don't show."""
    start = options.get("init_lora_weights")
    if isinstance(start, str) and _CHANGED_BASE.match(start):
        raise BadFile("notes")
    if options.get("use_qalora") or options.get("layer_replication") or options.get("fan_in_fan_out"):
        raise BadFile("notes")
    for key, value in _pattern(options, "alpha_pattern"):
        if not isinstance(value, (int, float)) or not re.fullmatch(r"[\w.-]+", key):
            raise BadFile("notes")  # an expression, which is not run


def _pattern(options: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    found = options.get(key)
    if not isinstance(found, dict):
        return
    for name, value in found.items():
        yield str(name).removeprefix("^").removesuffix("$").replace("\\.", "."), value


def _ends_with(name: str, key: str) -> bool:
    return name == key or name.endswith(f".{key}")


# -- what it was made for ----------------------------------------------------------------------------------------------


_FOREIGN = [(foreign, re.compile(foreign.pattern)) for foreign in FOREIGN]
_BEFORE = re.compile(rf"(?:{'|'.join(LORA_PREFIXES)})+")


def flat(name: str) -> str:
    """Return a layer's name with underscores for dots and without what trainers put before it; text encoders' stay marked."""
    if found := TEXT.match(name):
        return "text:" + name[found.end() :].replace(".", "_").lstrip("_")
    cut = _BEFORE.match(name)
    return name[cut.end() if cut else 0 :].replace(".", "_").lstrip("_")


def _made_for(layers: Mapping[str, Layer]) -> tuple[str | None, str | None, int | None]:
    """Return what a LoRA was made for as users say it, its kind where it can be used here, and its width; see LoraNames."""
    names = {flat(name): layer for name, layer in layers.items()}
    main = {name: layer for name, layer in names.items() if not name.startswith("text:")}
    texts = [name.removeprefix("text:") for name in names if name.startswith("text:")]
    tables = {family.lora.kind: family.lora for family in FAMILIES.values()}.values()
    certain = [one for one in tables if one.certain and any(map(one.certain.match, _with_widths(main)))]
    for foreign, pattern in _FOREIGN if not certain else ():
        for name, layer in main.items():
            if pattern.match(name) and (not foreign.widths or layer.columns in foreign.widths):
                return foreign.family, None, None
    for table in certain or tables:
        own = {name: layer for name, layer in main.items() if table.layers.match(name)}
        if own:
            width = next((layer.columns for name, layer in own.items() if table.width.search(name)), None)
            return table.labels.get(width or 0, table.label), table.kind, width
    for table in tables:
        if not main and table.text_layers and any(table.text_layers.match(name) for name in texts):
            return table.label, table.kind, None
    return None, None, None


def _with_widths(layers: Mapping[str, Layer]) -> list[str]:
    return [f"{name}:{layer.columns}" for name, layer in layers.items()]


_LAYOUTS = (  # a word for how a file names its layers, by how the first name begins
    ("kohya", r"lora_unet_(?!_)|lora_te"), ("VideoX-Fun", r"lora_unet__"), ("OneTrainer", r"lora_transformer_"),
    ("LyCORIS", r"lycoris_"), ("peft", r"base_model\.model\."), ("DiffSynth", r"pipe\.dit\."),
    ("ComfyUI", r"(model\.)?diffusion_model\.|text_encoders\."), ("diffusers", r"(transformer|unet|text_encoder(_2)?)\."),
)  # fmt: skip


def _layout(layers: Mapping[str, Layer]) -> str:
    first = next((name for name in layers if not TEXT.match(name)), next(iter(layers)))
    return next((word for word, pattern in _LAYOUTS if re.match(pattern, first)), "bare names")


def _dtype(layers: Mapping[str, Layer], tensors: Mapping[str, Tensor]) -> str:
    """Return the dtype by the bytes of a number, where the header's reader does not keep its name."""
    layer = next(iter(layers.values()))
    tensor = tensors[next(iter(layer.tensors.values()))]
    named = getattr(tensor, "dtype", "")
    widths = {1: "8 bit", 2: "16 bit", 4: "F32", 8: "F64"}
    return str(named) if named else widths.get(tensor.bytes // max(1, math.prod(tensor.shape)), "")


# -- trigger words -----------------------------------------------------------------------------------------------------

MOST_TRIGGERS, LONGEST_TRIGGER = 12, 80


def _triggers(notes: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words that a LoRA was trained to answer: what its author says, else the tags that most captions have."""
    phrases = _text(notes, "modelspec.trigger_phrase", "trigger_phrase", "trigger_word", "ss_trigger_words")
    if phrases:
        return tuple(_clean(one) for one in re.split(r"[,;\n]", phrases) if _clean(one))[:MOST_TRIGGERS]
    counts: dict[str, int] = {}
    for folder in _json(notes.get("ss_tag_frequency", "{}")).values():
        for tag, count in folder.items() if isinstance(folder, dict) else ():
            if isinstance(count, int) and not isinstance(count, bool) and _clean(str(tag)):
                counts[_clean(str(tag))] = counts.get(_clean(str(tag)), 0) + count
    if not counts:
        return ()
    most = max(counts.values())
    common = sorted((tag for tag, count in counts.items() if count >= 0.5 * most), key=lambda tag: -counts[tag])
    return tuple(common[:MOST_TRIGGERS])


def _text(notes: Mapping[str, str], *keys: str) -> str:
    return next((found for key in keys if (found := _clean(notes.get(key, ""), 400))), "")


def _clean(text: str, longest: int = LONGEST_TRIGGER) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[: 4 * longest]).strip()[:longest]
