"""Rows become one request: own prompts, own seeds, and nothing when a row is bad."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.batch.wildcards import expand
from core.errors import BatchError, OptionError
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.types import GenerationRequest
from tests.integration.jobs.harness import make_settings
from tests.options import measured


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "pet.txt").write_text("cat\ndog\n")
    limits = {"batch.wildcards": str(tmp_path / "own"), "batch.max_images": 50}
    yield build_studio(make_settings(tmp_path / "outputs", **limits))


def test_rows_make_images_in_order_with_what_they_have_of_their_own(studio: Studio) -> None:
    table = "prompt,negative_prompt,width,seed,num_images,cfg\na,n,128,7,2,\nb,,,,,3\n,,,,,\nc,,,90,1,\n"
    batch = studio.requests.new_batch(table.encode(), {"seed": 100, "height": 96, "model": "demo"}, "list.csv")
    per_image_requests = batch.per_image_requests()
    assert batch.num_images == len(per_image_requests) == 4
    assert [(one.prompt, one.negative_prompt, one.width, one.seed, one.cfg_scale) for one in per_image_requests] == [
        ("a", "n", 128, 7, 1.0),
        ("a", "n", 128, 8, 1.0),
        ("b", "", 256, 102, 3.0),
        ("c", "", 256, 90, 1.0),
    ]
    assert {one.height for one in per_image_requests} == {96} and all(
        not one.images and one.num_images == 1 for one in per_image_requests
    )


def test_a_image_of_a_batch_is_the_request_of_a_single(studio: Studio) -> None:
    batch = studio.requests.new_batch("a house\na tree", {"seed": 5, "width": 128})
    for prompt, seed, single in zip(("a house", "a tree"), (5, 6), batch.per_image_requests(), strict=True):
        assert single == studio.requests.new({"prompt": prompt, "seed": seed, "width": 128})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)  # it is only asked
@given(seed=st.integers(0, 2**40), count=st.integers(1, 12))
def test_wildcards_are_drawn_by_the_images_own_seeds(studio: Studio, seed: int, count: int) -> None:
    template = "a {red|blue} {cat|dog}"
    per_image_requests = studio.requests.new_batch([template], {"seed": seed, "num_images": count}).per_image_requests()
    assert [one.seed for one in per_image_requests] == list(range(seed, seed + count))
    assert [one.prompt for one in per_image_requests] == [
        expand(template, one.seed, lambda name: ()) for one in per_image_requests
    ]
    assert {one.template for one in per_image_requests} == {template}


@pytest.mark.option("batch.wildcards")
def test_files_of_ones_own_are_used_and_named(studio: Studio) -> None:
    assert "pet" in studio.requests.wildcards() and "color" in studio.requests.wildcards()
    batch = studio.requests.new_batch("a __color__ __pet__", {"num_images": 20, "seed": 1})
    assert {one.prompt.split()[-1] for one in batch.per_image_requests()} == {"cat", "dog"}
    measured("batch.wildcards", "a file pet.txt of one's own: 20 images with cat or dog")


def test_the_template_stays_with_the_seed_that_drew_its_prompt(studio: Studio) -> None:
    single = studio.requests.new_batch("a {b|c}", {"seed": 3, "model": "demo"}).per_image_requests()[0]
    assert studio.queue.submit(single).request == single
    for changed in (replace(single, seed=-1), replace(single, num_images=2)):
        assert studio.queue.submit(changed).request.template == ""


def test_negative_prompts_are_expanded_by_themselves(studio: Studio) -> None:
    row = {"prompt": "a {b|c}", "negative_prompt": "{b|c} # comment"}
    made = studio.requests.new_batch([row], {"seed": 1, "num_images": 12}).per_image_requests()
    assert {one.negative_prompt for one in made} == {"b", "c"} and {one.negative_template for one in made} == {
        "{b|c} # comment"
    }
    assert {(one.prompt[-1], one.negative_prompt) for one in made} > {("b", "c")}, "each prompt has draws of its own"
    kept = studio.queue.submit(made[0]).request
    assert kept == made[0] and studio.queue.submit(replace(made[0], seed=-1)).request.negative_template == ""
    with pytest.raises(BatchError, match=r"negative_prompt: got \{b\|c \(character 1\)"):
        studio.requests.new_batch([{"prompt": "a", "negative_prompt": "{b|c"}], {"seed": 1})


def test_a_prompt_without_wildcards_has_no_template(studio: Studio) -> None:
    assert studio.requests.new_batch(r"a \{b\}", {"seed": 1}).per_image_requests()[0].template == ""


def test_random_seeds_are_real_before_anything_is_queued(studio: Studio) -> None:
    batch = studio.requests.new_batch([{"prompt": "a", "seed": -1}, "b"], {"seed": -1})
    assert all(one.seed >= 0 for one in batch.per_image_requests())


@pytest.mark.option("batch.max_images")
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            "prompt,width\na,63\nb,64\nc,9999",
            ["row 2, width: got '63'; allowed: a whole number from 64", "row 4, width"],
        ),
        ("prompt,width\na,9000", ["row 2, width: got '9000'", "8192"]),
        ("prompt,steps\na,many", ["row 2, num_inference_steps: got 'many'"]),
        ("prompt,width\na,auto", ["row 2, width: got 'auto'"]),
        ("prompt,seed\na,9007199254740991\n,1", ["row 3, prompt: got 0"]),
        ("prompt,seed,num_images\na,9007199254740991,2", ["row 2, seed: got 9007199254740992"]),
        ("prompt\na {b|c", ["row 2, prompt: got {b|c (character 3)"]),
        ("prompt\na __nope__", ["row 2, prompt: got __nope__; allowed: __color__"]),
        ("prompt,num_images\na,40\nb,11", ["row 3, num_images: got 51; allowed: 50 images in all (batch.max_images)"]),
        ("# nothing\n\n", ["there is no prompt in it"]),
    ],
)
def test_a_bad_row_is_told_and_nothing_is_queued(studio: Studio, rows: str, words: list[str]) -> None:
    with pytest.raises(BatchError) as caught:
        studio.queue.submit(studio.requests.new_batch(rows, {"model": "demo"}, "list.txt"))
    for part in ("list.txt", "Nothing was queued", *words):
        assert part in caught.value.message("en")
    assert "没有任何任务进入队列" in caught.value.message("zh") and "\n" not in caught.value.message("zh")
    measured("batch.max_images", "50: a table of 51 images is refused with its row, and nothing is queued")
    assert studio.queue.recent() == []


def test_only_so_many_rows_are_said(studio: Studio) -> None:
    with pytest.raises(BatchError, match=r"12 entries .*row 8, .*; and 4 more\."):
        studio.requests.new_batch([{"prompt": "x", "width": 1}] * 12, source="request")


def test_a_caller_may_have_limits_of_its_own(studio: Studio) -> None:
    def narrow(single: GenerationRequest) -> None:
        if single.width > 200:
            raise OptionError(source="x", key="generation.width", value=single.width, allowed="200")

    with pytest.raises(BatchError, match="row 2, width"):
        studio.requests.new_batch([{"prompt": "a", "width": 64}, "b"], check=narrow)
    with pytest.raises(BatchError, match="3 images in all"):
        studio.requests.new_batch(["a"] * 4, most=3)
