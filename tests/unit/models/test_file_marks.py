"""What a file's tensors and notes say of itself: v-prediction, CosXL, and where a ControlNet's layers belong."""

from __future__ import annotations

import json

import pytest

from core.models.families import FAMILIES
from core.models.weight_files import Header, Tensor

SDXL = FAMILIES["StableDiffusionXLPipeline"]
CONTROL = FAMILIES["ZImageControlNetPipeline"]


@pytest.mark.parametrize(
    ("marks", "notes", "wanted"),
    [
        ((), {}, {}),
        ((), {"modelspec.prediction_type": "epsilon"}, {}),
        ((), {"modelspec.prediction_type": "v"}, {"prediction_type": "v_prediction"}),
        (("v_pred",), {}, {"prediction_type": "v_prediction"}),
        (
            ("v_pred", "ztsnr"), {},
            {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        ),
        (
            ("edm_vpred.sigma_max", "edm_vpred.sigma_min"), {},
            {"_class_name": "EDMEulerScheduler", "prediction_type": "v_prediction", "sigma_max": 120.0, "sigma_min": 0.002},
        ),
    ],
    ids=["none", "epsilon", "modelspec v", "v_pred", "v_pred and ztsnr", "CosXL"],
)  # fmt: skip
def test_marks_change_the_scheduler(marks, notes, wanted) -> None:
    changed = SDXL.scheduler_changes(Header({name: Tensor((1,), 4, "F32") for name in marks}, notes))
    assert {key: changed[key] for key in wanted} == wanted and bool(changed) == bool(wanted)


@pytest.mark.parametrize(
    ("layers", "places"),
    [(6, [0, 5, 10, 15, 20, 25]), (15, list(range(0, 30, 2))), (3, [0, 10, 20]), (4, None)],
    ids=["Union", "Union 2.1", "lite", "unknown"],
)
def test_places_of_control_layers(layers: int, places: list[int] | None) -> None:
    """As alibaba-pai publishes them for the 30 layers of Z-Image."""
    assert FAMILIES["ZImagePipeline"].frame is not None
    config = json.loads((FAMILIES["ZImagePipeline"].frame / "transformer" / "config.json").read_text())
    names = [f"control_layers.{layer}.attention.to_q.weight" for layer in range(layers)]
    tensors = {**dict.fromkeys(names, Tensor((3840, 3840), 0)), "control_all_x_embedder.2-1.weight": Tensor((3840, 132), 0)}
    made = CONTROL.network_config(tensors, config, refines=True)
    assert (made and made["control_layers_places"]) == places
    assert made is None or made["control_in_dim"] == 33
