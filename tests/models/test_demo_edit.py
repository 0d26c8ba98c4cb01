"""An edit model of the embedded world: its training's forward is that of the class, and `demo-eval --edit` measures any."""

from __future__ import annotations

import json

import pytest
import torch

from core.cli.main import main
from core.demo.training import edit_transformer
from core.demo.training.edit_transformer import Instruction, Prompt, Source
from core.inference.generator import Generator
from tests.models import tiny_models


def test_any_edit_model_is_measured(tmp_path, capsys, monkeypatch):
    folder = tiny_models.z_image_omni(tmp_path / "omni")
    given = ["--model", str(folder), "--prompts", "2", "--width", "64", "--height", "64", "--json"]
    asked, generate = [], Generator.generate

    def generated(self, request, **rest):
        asked.append(request)
        return generate(self, request, **rest)

    monkeypatch.setattr(Generator, "generate", generated)
    assert main(["demo-eval", "--edit", *given, "--steps", "2", "--cfg", "1"]) == 1
    assert {(one.num_inference_steps, one.cfg_scale) for one in asked} == {(2, 1.0)}
    found = json.loads(capsys.readouterr().out)
    assert found["edits"].keys() == {"recolour"} and found["languages"].keys() == {"zh", "en"} and not found["passed"]


def test_a_model_that_does_not_edit_is_refused(capsys):
    assert main(["demo-eval", "--edit"]) == 2
    assert "flux2-klein-4b" in capsys.readouterr().err
    assert main(["demo-eval", "--steps", "0"]) == 2
    assert "--steps" in (said := capsys.readouterr().err) or "num_inference_steps" in said


def piece(*lengths):
    features = torch.zeros(len(lengths), 32, 128)
    for row, length in zip(features, lengths, strict=True):
        row[:length].normal_()
    return Prompt(features, torch.tensor(lengths))


@torch.no_grad()
@pytest.mark.parametrize("edits_image", [True, False])
def test_the_forward_for_training_is_that_of_the_class(edits_image):
    """A size whose tokens are no multiple of 32, and instructions of two lengths."""
    torch.manual_seed(2)
    model = edit_transformer.new_transformer().eval()
    noisy, time = torch.randn(2, 16, 6, 20), torch.tensor([0.1, 0.7])
    given = Source(torch.randn(2, 16, 6, 20), torch.randn(2, 2, 7, 32))
    prompt = Instruction(piece(5), piece(11, 17), piece(3)) if edits_image else piece(11, 17)
    pieces = [prompt.opening, prompt.text, prompt.closing] if edits_image else [prompt]
    theirs = model(
        x=[[*([given.latents[i, :, None]] if edits_image else []), noisy[i, :, None]] for i in range(2)],
        t=time,
        cap_feats=[
            [one.features[i % len(one.lengths), : one.lengths[i % len(one.lengths)]] for one in pieces]
            for i in range(2)
        ],
        siglip_feats=[[given.features[i], None] if edits_image else None for i in range(2)],
        image_noise_mask=[[0, 1] if edits_image else [1]] * 2,
        return_dict=False,
    )[0]
    mine = edit_transformer.forward(model, noisy, time, prompt, given if edits_image else None)
    assert (mine - torch.stack([one.squeeze(1) for one in theirs])).abs().max() < 1e-4
