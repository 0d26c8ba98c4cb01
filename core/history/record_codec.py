"""Convert an image's record between its three forms: JSON in file and database, `ImageRecord`, and the searchable row.

{"format": "zdarkroom", "version": 1, "program": "Z Darkroom 0.1.0", "id": ..., "job_id": ..., "created_at": ...,
 "requested": {every field of GenerationRequest}, "resolved": {what was in effect, with the versions of libraries},
 "decisions": [{"option", "requested", "effective", "reason": {language: sentence}}],
 "size": {"rendered": [width, height], "delivered": [width, height]},
 "timings": {part: seconds}, "peak_memory_bytes": ..., "place": which image of its job, from 1}

"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.config.options import SCHEMA
from core.i18n import localize
from core.storage.database import timestamp
from core.storage.image_writer import StoredFile
from core.storage.infotext import PROGRAM, well_formed
from core.storage.input_images import is_digest
from core.types import CFG_OFF, ROLES, Decision, GeneratedImage, GenerationRequest, ImageRecord, with_cfg

FORMAT, VERSION = "zdarkroom", 1
# What reading foreign JSON as a record leads to.
NOT_A_RECORD = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
_ID = re.compile(r"[0-9a-f]{32}")
UNKNOWABLE = ("prompt", "negative_prompt", "model", "seed", "num_inference_steps", "cfg_scale")
UNKNOWN, UNKNOWN_SEED = -1, -(2**63)  # in the row: below everything that is searched for
FIRST_YEAR, LAST_YEAR = 2000, 2100  # of a record from elsewhere
MOST_SECONDS, MOST_BYTES = 1e7, 2**50
LONGEST_MODEL = 500  # characters that are searched by; the record keeps all
_SQLITE_INTEGER = 2**63  # the database holds whole numbers below this


def new_id(created_at: datetime) -> str:
    """Return 32 hex digits in the order of time: 48 bits of milliseconds, then random, as in UUID version 7."""
    return f"{int(created_at.timestamp() * 1000):012x}{secrets.token_hex(10)}"


def is_id(text: object) -> bool:
    """Return whether `text` has the form of an id; only then may it become part of a file name."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def _is_job_id(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and 0 < len(text) <= 32


RECORD_SUFFIX = ".record.json"  # of the file beside an image that holds its record


def beside(image: str) -> str:
    """Return the name of the file beside an image that holds its record where the image itself can't."""
    return image + RECORD_SUFFIX


def encoded(record: Mapping[str, Any]) -> bytes:
    """Return a record as the bytes of a file."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace")


def in_sidecar(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record that says of itself that it is kept beside its image, as it is too long for the file."""
    decision = vars(Decision("output.metadata", True, "sidecar", localize("history.record_codec.too_long")))
    return {**record, "decisions": [*record["decisions"], decision]}


def generated_record(image: GeneratedImage, image_id: str, job_id: str | None, created_at: datetime) -> dict[str, Any]:
    """Return the JSON for a new image."""
    request = image.request
    record = {
        "format": FORMAT,
        "version": VERSION,
        "program": PROGRAM,
        "id": image_id,
        "job_id": job_id,
        "created_at": timestamp(created_at),
        "requested": requested(request),
        "resolved": image.effective,
        "decisions": [vars(decision) for decision in image.decisions],
        "size": {"rendered": image.rendered_size, "delivered": (request.width, request.height)},
        "timings": image.timings,
        "peak_memory_bytes": image.peak_memory_bytes,
        "place": image.place,
    }
    return {name: _plain(value) for name, value in record.items()}


def image_record(record: Mapping[str, Any], stored: StoredFile, missing: bool = False) -> ImageRecord:
    """Return the typed record; what the file itself says (its size) wins over what is written in it.

    Raises one of NOT_A_RECORD when `record` is not one of ours, or one of a newer version.
    """
    if (record["format"], record["version"]) != (FORMAT, VERSION):
        raise ValueError(f"a record of format {record['format']} version {record['version']}")
    if not is_id(record["id"]) or not (record["job_id"] is None or _is_job_id(record["job_id"])):
        raise ValueError("an id that cannot be ours")
    created_at = datetime.fromisoformat(record["created_at"])
    if created_at.tzinfo is None:
        raise ValueError("a time without its zone")
    rendered = record["size"]["rendered"]
    peak = record["peak_memory_bytes"]
    place = record.get("place")
    return ImageRecord(
        id=record["id"],
        job_id=record["job_id"],
        created_at=created_at,
        file=stored.file,
        format=stored.format,
        width=stored.size[0],
        height=stored.size[1],
        bytes=stored.bytes,
        request=_request(record["requested"]),
        unknown=_unknown(record),
        rendered_size=(int(rendered[0]), int(rendered[1])),
        timings={str(part): float(seconds) for part, seconds in record["timings"].items()},
        effective={SCHEMA.current_key(key): value for key, value in record["resolved"].items()},
        decisions=tuple(_decision(decision) for decision in record["decisions"]),
        peak_memory_bytes=None if peak is None else int(peak),
        missing=missing,
        place=None if place is None else _whole(place),
    )


def image_row(record: ImageRecord) -> dict[str, Any]:
    """Return the row of the table `images`: what is searched and sorted by, in a form that every database can hold."""
    unknown = record.unknown
    return {
        "id": record.id,
        "job_id": record.job_id,
        "created_at": timestamp(record.created_at),
        "file": record.file,
        "format": record.format,
        "width": record.width,
        "height": record.height,
        "bytes": record.bytes,
        "prompt": well_formed(record.request.prompt),
        "negative_prompt": well_formed(record.request.negative_prompt),
        "model": well_formed(record.request.model)[:LONGEST_MODEL],
        "seed": UNKNOWN_SEED if "seed" in unknown else signed_seed(record.request.seed),
        "num_inference_steps": UNKNOWN if "num_inference_steps" in unknown else record.request.num_inference_steps,
        "cfg_scale": UNKNOWN if "cfg_scale" in unknown else record.request.cfg_scale,
        "seconds": UNKNOWN if record.seconds is None or not math.isfinite(record.seconds) else record.seconds,
        "missing": record.missing,
        "place": record.place,
    }


def _unknown(record: Mapping[str, Any]) -> frozenset[str]:
    """Return the fields of the request that the record does not know: null, or nothing at all for an image without parameters."""
    asked = with_cfg(record["requested"])
    if record["resolved"].get("taken_in_from") == "?":  # earlier versions wrote made-up numbers
        return frozenset(UNKNOWABLE)
    named = {name for name in UNKNOWABLE if asked.get(name) is None}
    return frozenset(named | ({"model"} if asked.get("model") == "" else set()))


def check_bounds(record: ImageRecord) -> None:
    """Raise ValueError for a record from elsewhere with values that no image of ours has: years, times and sizes out of bounds."""
    if not FIRST_YEAR <= record.created_at.year <= LAST_YEAR:
        raise ValueError(f"the year {record.created_at.year}")
    if not all(math.isfinite(seconds) and 0 <= seconds < MOST_SECONDS for seconds in record.timings.values()):
        raise ValueError("a time that is out of bounds")
    if record.peak_memory_bytes is not None and not 0 <= record.peak_memory_bytes < MOST_BYTES:
        raise ValueError("a memory peak that is out of bounds")
    names = (record.request.model, record.job_id or "", *record.timings, *record.effective, *record.request.options)
    if any(len(name) > LONGEST_MODEL or not name.isprintable() for name in names):
        raise ValueError("a name with control characters, or of more than 500 characters")
    if record.request.seed < 0:
        raise ValueError("a seed below 0")


def signed_seed(seed: int) -> int:
    """Return a seed as the database holds it: 64 bits with a sign, so that 2^64 - 1 is -1."""
    return seed - 2**64 if seed >= _SQLITE_INTEGER else seed


def requested(request: GenerationRequest) -> dict[str, Any]:
    """Return a single request as it is kept."""
    data = {**vars(request), "options": dict(request.options), "inputs": dict(request.inputs)}
    del data["images"]
    return data


def with_new_id(record: Mapping[str, Any], created_at: datetime) -> dict[str, Any]:
    """Return the same record for a copy of the file."""
    return {**record, "id": new_id(created_at)}


def _request(stored: Mapping[str, Any]) -> GenerationRequest:
    data = with_cfg(stored)

    def known(name: str, placeholder: Any) -> Any:
        return placeholder if data[name] is None else data[name]

    request = GenerationRequest(
        prompt=_string(known("prompt", "")),
        negative_prompt=_string(known("negative_prompt", "")),
        model=_string(known("model", "")),
        width=int(data["width"]),
        height=int(data["height"]),
        num_inference_steps=int(known("num_inference_steps", GenerationRequest.num_inference_steps)),
        cfg_scale=float(known("cfg_scale", CFG_OFF)),
        seed=int(known("seed", 0)),
        num_images=int(data["num_images"]),
        options=SCHEMA.current(data["options"]),
        template=_string(data.get("template", "")),
        original_prompt=_string(data.get("original_prompt", "")),
        negative_template=_string(data.get("negative_template", "")),
        inputs=_inputs(data.get("inputs", {})),
        parent=_parent(data.get("parent", "")),
    )
    numbers = (signed_seed(request.seed), request.num_inference_steps, request.cfg_scale)
    if not all(math.isfinite(number) and -_SQLITE_INTEGER <= number < _SQLITE_INTEGER for number in numbers):
        raise ValueError("a number that the database cannot hold")
    return request


def _inputs(data: Mapping[str, Any]) -> dict[str, str]:
    """Return the inputs if all can name one of our files: a record may come from anywhere."""
    if not all(role in ROLES and is_digest(digest) for role, digest in data.items()):
        raise ValueError("an input image that cannot be ours")
    return dict(data)


def _parent(value: Any) -> str:
    if value != "" and not is_id(value):
        raise ValueError("a parent that cannot be ours")
    return str(value)


def _decision(data: Mapping[str, Any]) -> Decision:
    return Decision(SCHEMA.current_key(str(data["option"])), data["requested"], data["effective"], dict(data["reason"]))


def _whole(value: Any) -> int:
    if not -_SQLITE_INTEGER <= int(value) < _SQLITE_INTEGER:
        raise ValueError("a number that the database cannot hold")
    return int(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} instead of text")
    return value


def _plain(value: Any) -> Any:
    """Return `value` as JSON will give it back, so that a record is the same before and after it was stored."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    # joins the halves of a surrogate pair, as every JSON reader does; a lone half stays as it is
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
