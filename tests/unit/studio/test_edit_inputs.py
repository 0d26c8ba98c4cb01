"""Which input images a model takes: one or several of an edit by instruction, and none without a first one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import InputCombinationError
from core.models.families.flux2.description import KLEIN
from core.studio.request_checks import check_inputs
from core.types import IMAGE, REFERENCES
from tests.integration.jobs.harness import make_request
from tests.ui.page_studio import DEMO

EDITS = replace(DEMO, id="klein", pipeline=KLEIN.pipeline, inputs=KLEIN.inputs)
FIRST, SECOND = {IMAGE: "a" * 64}, {REFERENCES[0]: "b" * 64}


@pytest.mark.parametrize("inputs", [FIRST, {**FIRST, **SECOND}])
def test_edit_by_instruction_needs_no_mask(inputs: dict[str, str]) -> None:
    sizes: list[str] = []

    def size_of(digest: str) -> tuple[int, int]:
        sizes.append(digest)
        return 64, 64

    check_inputs(make_request(inputs=inputs), EDITS, size_of)
    assert set(sizes) == set(inputs.values()), "each image is measured, and no mask is asked for"


@pytest.mark.parametrize(
    ("model", "inputs", "size", "words"),
    [
        (EDITS, SECOND, (64, 64), "there is no first one"),
        (EDITS, {**FIRST, **SECOND}, (64, 63), "sides of 64 px or more"),
        (EDITS, {**FIRST, **SECOND}, (1024, 100), "at most 8 times"),
        (DEMO, {**FIRST, **SECOND}, (64, 64), "demo starts from one image"),
    ],
)
def test_images_that_do_not_fit_are_refused(model, inputs, size, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputCombinationError, match=words):
        check_inputs(make_request(inputs=inputs), model, lambda digest: size)
