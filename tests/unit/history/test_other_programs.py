"""Images of other programs: every case of `program_images`, the table in the docs, time limits, and texts that attack a parser."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cli.main import main
from core.history.importers import READERS, read_parameters
from core.history.store import History
from core.storage.database import Database
from core.storage.embedded_texts import decode_comment, exif_texts, xmp_texts
from core.storage.infotext import read_infotext
from core.types import FoundParameters, HistoryQuery
from tests.examples import examples
from tests.unit.history.image_files import INFOTEXT, Case, commented, graph, node, parameters, png, text
from tests.unit.history.program_images import CASES, DOCS, HEADERS, table


def stated(found: FoundParameters) -> dict[str, Any]:
    facts = {**vars(found.facts), "program": found.program}
    return {**facts, "loras": [(lora.name, lora.weight) for lora in found.facts.loras]}


@pytest.mark.parametrize("case", CASES, ids=[f"{case.program}: {case.kind}" for case in CASES])
def test_states_what_the_program_wrote(case: Case) -> None:
    found = read_parameters(io.BytesIO(case.data))
    assert found is not None
    got = stated(found)
    assert {name: got[name] for name in case.expected} == case.expected
    assert found.program == case.program
    assert set(case.unused) <= set(found.unused)
    listed = "\n".join(found.unused.values())
    assert all(words in listed for words in case.listed), found.unused


def test_json_that_only_looks_like_infotext_is_no_infotext() -> None:
    words = json.dumps({"6": {"x": 1}, "a": "urn:air:sdxl", "b": "https://example.invalid/x", "c": "file:///x"})
    found = read_parameters(io.BytesIO(commented(b"UNICODE\0" + words.encode("utf-16-be"))))
    assert found is not None and found.program != "A1111" and found.facts.prompt is None


@pytest.mark.parametrize("page", HEADERS)
def test_docs_have_the_table_of_the_cases(page: str) -> None:
    assert len(CASES) >= 48
    assert table(page) in (DOCS / page).read_text(encoding="utf-8"), "run: python -m tests.unit.history.program_images"


# -- the command -------------------------------------------------------------------------------------------------------

KEYS = [
    "prompt",
    "negative_prompt",
    "seed",
    "steps",
    "cfg_scale",
    "sampler",
    "width",
    "height",
    "model",
    "loras",
    "program",
    "unused",
]


def test_inspect_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, plain = tmp_path / "one.png", tmp_path / "plain.png"
    one.write_bytes(parameters(INFOTEXT))
    plain.write_bytes(png())
    assert main(["inspect", str(one), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == KEYS and (printed["seed"], printed["program"], printed["loras"]) == (77, "A1111", [])
    assert main(["inspect", str(one), str(plain), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first == printed
    assert {name for name, value in second.items() if value not in (None, [], {})} == {"width", "height"}


def test_inspect_prints_lines_in_both_languages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "one.png"
    file.write_bytes(parameters(INFOTEXT))
    assert main(["inspect", str(file), "--lang", "en"]) == 0
    assert "Prompt: a red house\nNegative prompt: rain\nSeed: 77\n" in capsys.readouterr().out
    assert main(["inspect", str(file), "--lang", "zh"]) == 0
    assert "种子: 77" in capsys.readouterr().out


def test_inspect_refuses_what_is_no_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, missing = tmp_path / "notes.txt", tmp_path / "missing.png"
    file.write_text("no image")
    for path in (file, missing, tmp_path):
        assert main(["inspect", str(path), "--json", "--lang", "en"]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith(f"Cannot read {path}: ") and err.count("\n") == 1


# -- nothing takes long, nothing fails ---------------------------------------------------------------------------------

MEGABYTE = 1 << 20
ATTACKS = {
    "words": "a" * MEGABYTE,
    "spaces": "Steps: 1" + " " * MEGABYTE,
    "colons": "a: " * (MEGABYTE // 3),
    "fields": "a: b, " * (MEGABYTE // 6),
    "quotes": 'a: "b, ' * (MEGABYTE // 7),
    "open quote": 'Steps: "' + "\\" * MEGABYTE,
    "escapes": 'Steps: "' + '\\"' * (MEGABYTE // 2),
    "brackets": "Steps: " + "[" * MEGABYTE,
    "braces in fields": "a: {" * (MEGABYTE // 4),
    "steps": "Steps: 1, a: b\n" * (MEGABYTE // 15),
    "steps on one line": "Steps: 1, " * (MEGABYTE // 10),
    "steps with quotes": 'Steps: "\n' * (MEGABYTE // 9),
    "newlines": "\n" * MEGABYTE,
    "negative": "Negative prompt:\n" * (MEGABYTE // 17),
    "lora tags": "<lora:" * (MEGABYTE // 6),
    "commas": "<lora:a:1>" + ", " * (MEGABYTE // 2),
    "dream": '"' + "[" * MEGABYTE,
    "dream flags": '"a" ' + "-s " * (MEGABYTE // 3),
}


ENDLESS = 30.0  # seconds of CPU: a second at most, and without end where something is looked at again and again


@pytest.mark.parametrize("name", ["parameters", "Dream", "prompt", "Comment", "XML:com.adobe.xmp"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_megabyte_of_anything_is_read_in_bounded_work(attack: str, name: str) -> None:
    data = png(text(name, ATTACKS[attack].encode()))
    start = time.process_time()
    assert read_parameters(io.BytesIO(data)) is not None
    assert time.process_time() - start < ENDLESS


def chained(kind: str, count: int, start: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """Return a graph that encodes the last of `count` nodes; an input named `string_*` is the node before."""
    links = {name: value for name, value in inputs.items() if not name.startswith("string")}
    before = [name for name in inputs if name.startswith("string")]
    nodes = {str(k): node(kind, **links, **{name: [str(k - 1), 0] for name in before}) for k in range(1, count + 1)}
    return nodes | {
        "0": start,
        "e": node("CLIPTextEncode", text=[str(count), 0], clip=["0", 0]),
        "s": node("KSampler", seed=77, steps=20, positive=["e", 0], negative=["e", 0], latent_image=["0", 0]),
    }


def tangled(kind: str, name: str) -> dict[str, Any]:
    """Return a graph of 700 nodes, each of which takes in 50 others, with 60 samplers."""
    nodes = {
        str(k): node(kind, **{f"{name}_{i}": [str((k * 7 + i * 13) % 700), 0] for i in range(50)}) for k in range(700)
    }
    samplers = {
        f"s{k}": node("KSampler", seed=k, steps=3, positive=[str(k), 0], latent_image=[f"s{k - 1}" if k else "0", 0])
        for k in range(60)
    }
    return nodes | samplers


GRAPHS: dict[str, dict[str, Any]] = {
    "2^60 ways": chained("StringConcatenate", 60, node("PrimitiveString", value="x"), string_a=0, string_b=0),
    "a text of gigabytes": chained(
        "StringConcatenate", 14, node("PrimitiveString", value="x" * 100_000), string_a=0, string_b=0
    ),
    "a word that grows": chained(
        "StringReplace", 12, node("PrimitiveString", value="x" * 1000), string=0, find="x", replace="x" * 10
    ),
    "a long chain": chained("Foo", 4000, node("CLIPTextEncode", text="x"), string=0),
    "tangled conditionings": tangled("ConditioningCombine", "conditioning"),
    "tangled texts": tangled("Text Concatenate", "text"),
    "thousands of LoRAs": graph(
        {"model": ["12", 0]},
        n12=node(
            "LoraLoader", **{f"lora_name_{k}": "a" for k in range(3000)}, **{f"strength_{k}": 1 for k in range(3000)}
        ),
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.by_default("2^60 ways", "tangled texts")
def test_a_graph_made_to_take_long_is_read_in_bounded_work(name: str) -> None:
    start = time.process_time()
    found = read_parameters(io.BytesIO(png(text("prompt", json.dumps(GRAPHS[name]).encode()))))
    assert found is not None and found.program == "ComfyUI"
    assert time.process_time() - start < ENDLESS


@pytest.mark.parametrize("words", ['{"a": [' + "[]," * 1_000_000 + "1]}", "Steps: 1, " + "a: b, " * 600_000])
def test_a_text_that_is_too_long_is_named_as_not_read(words: str) -> None:
    start = time.process_time()
    found = read_parameters(io.BytesIO(png(text("parameters", words.encode()))))
    assert found is not None and found.program == "" and found.unused["parameters"].endswith("…")
    assert time.process_time() - start < ENDLESS


KINDS = st.sampled_from(
    ["KSampler", "SamplerCustomAdvanced", "CLIPTextEncode", "StringConcatenate", "ComfySwitchNode", "ToBasicPipe",
    "LoraLoader", "ImpactSwitch",
     "ConditioningCombine", "Power Lora Loader (rgthree)", "SplitSigmas", "EmptyLatentImage", "Reroute", "SetNode", "GetNode", "X"]
)  # fmt: skip
INPUTS = st.sampled_from(
    ["seed", "steps", "positive", "negative", "latent_image", "model", "text", "string_a", "string_b", "switch",
    "on_true", "input1", "select",
     "basic_pipe", "guider", "sigmas", "noise", "conditioning_1", "lora_name", "strength_model", "lora_1", "width",
     "height", "clip", "value"]
)  # fmt: skip
VALUES = (
    st.tuples(st.sampled_from("123456"), st.integers(0, 4)).map(list)
    | st.integers(-5, 2**70) | st.text(max_size=6) | st.booleans() | st.none() | st.floats()
    | st.fixed_dictionaries({"on": st.booleans(), "lora": st.text(max_size=4), "strength": st.floats()})
)  # fmt: skip
NODES = st.fixed_dictionaries({"class_type": KINDS, "inputs": st.dictionaries(INPUTS, VALUES, max_size=8)})
SLOTS = st.lists(
    st.fixed_dictionaries(
        {"name": INPUTS, "type": st.sampled_from(["MODEL", "*"]), "link": st.none() | st.integers(0, 9)}
    ),
    max_size=4,
)
UI_NODES = st.lists(
    st.fixed_dictionaries({"id": st.integers(-20, 6), "type": KINDS | st.just("sub"), "inputs": SLOTS, "outputs": SLOTS,
                           "mode": st.sampled_from([0, 2, 4]), "widgets_values": st.lists(VALUES, max_size=4)}), max_size=6
)  # fmt: skip
LINKS = st.lists(
    st.tuples(
        st.integers(0, 9), st.integers(-20, 6), st.integers(0, 3), st.integers(-20, 6), st.integers(0, 3), st.just("*")
    ).map(list),
    max_size=9,
)
INNER = st.fixed_dictionaries(
    {"id": st.just("sub"), "nodes": UI_NODES, "links": LINKS, "inputs": SLOTS, "outputs": SLOTS}
)
WORKFLOWS = st.fixed_dictionaries(
    {
        "nodes": UI_NODES,
        "links": LINKS,
        "definitions": st.fixed_dictionaries({"subgraphs": st.lists(INNER, max_size=1)}),
    }
)


@settings(max_examples=examples(120), deadline=None)
@given(st.dictionaries(st.sampled_from("123456"), NODES, min_size=1) | WORKFLOWS)
def test_any_graph_is_read(graph: dict[str, Any]) -> None:
    found = read_parameters(io.BytesIO(png(text("prompt", json.dumps(graph).encode()))))
    assert found is not None and all(isinstance(value, str) for value in found.unused.values())


@settings(max_examples=examples(120), deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "Steps: 20",
                "Seed: 5",
                ", ",
                "\n",
                '"',
                "{",
                "}",
                "[",
                "]",
                ":",
                "\\",
                "Negative prompt:",
                "a",
                " ",
                "Size: 1x2",
                "红",
            ]
        ),
        max_size=40,
    ).map("".join)
)
def test_any_infotext_is_read(words: str) -> None:
    info = read_infotext(words)
    assert len(info.prompt) + len(info.negative_prompt) <= len(words)
    assert read_parameters(io.BytesIO(parameters(words))) is not None


@given(st.binary(max_size=300))
def test_any_exif_comment_and_xmp_is_decoded(data: bytes) -> None:
    assert isinstance(decode_comment(data), str)
    for start in (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""):
        assert all(isinstance(words, str) for _, words in exif_texts(start + data))
    assert all(isinstance(words, str) for _, words in xmp_texts(b"<x>" + data + b"</x>"))


@given(
    st.text(min_size=1, max_size=60),
    st.sampled_from(["utf-16-le", "utf-16-be", "utf-8"]),
    st.sampled_from([b"UNICODE\0", b"\0" * 8, b""]),
)
def test_ascii_beside_any_text_tells_the_encoding(words: str, encoding: str, marker: bytes) -> None:
    words = "".join(mark for mark in words if mark.isprintable()) + " a red house, Steps: 20, Seed: 77, Size: 640x384"
    assert decode_comment(marker + words.encode(encoding, "ignore")) == words.encode(encoding, "ignore").decode(
        encoding
    )


def test_a_document_type_is_not_read() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x><description>&b;</description></x>'
    assert list(xmp_texts(bomb)) == []


def test_readers_are_all_tried() -> None:
    modules = {reader.__module__.rpartition(".")[2] for reader in READERS}
    assert modules == {"own", "invokeai", "novelai", "swarmui", "fooocus", "comfyui", "json_programs", "a1111"}


def test_png_info_tells_parameters_and_items_of_every_program() -> None:
    from core.server.a1111_extras import _png_info

    own = _png_info(parameters(INFOTEXT))
    assert own["info"] == INFOTEXT and own["items"] == {"parameters": INFOTEXT}
    assert (own["parameters"]["Prompt"], own["parameters"]["Steps"], own["parameters"]["Size-2"]) == (
        "a red house",
        "20",
        384,
    )
    case = next(case for case in CASES if case.program == "InvokeAI")
    told = _png_info(case.data)
    assert told["parameters"]["Seed"] == 77 and set(told["items"]) == {"invokeai_metadata"}
    assert _png_info(png()) == {"info": "", "items": {}, "parameters": {}}


@pytest.mark.slow
def test_a_thousand_mixed_files_are_imported_in_a_minute(tmp_path: Path) -> None:
    database = Database(tmp_path / "studio.db")
    history, start = History(database, tmp_path / "outputs"), time.monotonic()
    for k in range(1000):
        history.import_image(CASES[k % len(CASES)].data + k.to_bytes(2, "big"), f"{k}.png")
    assert time.monotonic() - start < 60
    assert history.search(HistoryQuery(limit=1)).total == 1000
    database.close()
