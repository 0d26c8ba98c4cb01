"""The real vocabulary of Qwen3, which is shipped compressed, with a random text encoder of its size."""

from __future__ import annotations

import json
import lzma
import shutil

import numpy as np
import pytest
import torch
from diffusers import ZImagePipeline
from transformers import Qwen3Config, Qwen3Model

from core.config.loader import PROJECT_ROOT
from core.config.options import SCHEMA
from core.inference.generator import Generator
from core.inference.pipeline_reading import PACKED_TOKENIZER, packed_tokenizer
from core.models.catalog import Catalog
from core.models.families import FAMILIES
from core.models.model_paths import ModelPaths
from core.models.token_counter import count_tokens
from tests.models import tiny_models
from tests.pipelines import Z_IMAGE

FRAME = FAMILIES[Z_IMAGE].frame
PROMPT = "红色的房子 a red house"
IDS = [151644, 872, 198, 104165, 108119, 264, 2518, 3753, 151645, 198, 151644, 77091, 198]  # in the chat template


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Z-Image with the real tokenizer, as its repository has it."""
    made = tiny_models.z_image(tmp_path_factory.mktemp("real") / "z")
    shipped = FRAME / "tokenizer"
    shutil.rmtree(made / "tokenizer")
    (made / "tokenizer").mkdir()
    shutil.copy(shipped / "tokenizer_config.json", made / "tokenizer")
    (made / "tokenizer" / "tokenizer.json").write_bytes(lzma.decompress((shipped / PACKED_TOKENIZER).read_bytes()))
    config = json.loads((made / "text_encoder" / "config.json").read_text()) | {"vocab_size": 151936}
    named = {key: value for key, value in config.items() if key not in ("architectures", "model_type", "dtype")}
    torch.manual_seed(2)
    Qwen3Model(Qwen3Config(**named)).save_pretrained(made / "text_encoder")
    return made


@pytest.mark.slow
def test_real_tokenizer_gives_the_same_ids_and_pixels_as_plain_diffusers(folder, request_of) -> None:
    plain = ZImagePipeline.from_pretrained(folder, dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    catalog = Catalog(PROJECT_ROOT / "configs", ModelPaths(folder.parent))
    own = Generator(catalog)
    image = own.generate(
        request_of(PROMPT, model=str(folder), width=64, height=64, num_inference_steps=2, cfg_scale=1.0)
    ).images[0]
    expected = plain(
        PROMPT, width=64, height=64, num_inference_steps=2, guidance_scale=0.0, generator=torch.Generator().manual_seed(7)
    ).images[0]
    assert np.array_equal(np.asarray(image.image), np.asarray(expected))
    message = [{"role": "user", "content": PROMPT}]
    for tokenizer in (plain.tokenizer, own.loaded.pipeline.tokenizer, packed_tokenizer(FRAME / "tokenizer")):
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=True)
        assert tokenizer(text).input_ids == IDS
    counted = count_tokens(catalog.find(str(folder)), PROMPT, SCHEMA.defaults())
    assert counted is not None and counted.used == len(IDS)
