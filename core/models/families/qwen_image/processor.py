"""Read the processor of Qwen-Image-Edit, which gives the text encoder a prompt together with images, without torchvision.

transformers' Qwen2VLProcessor has a part for videos that can't be made without torchvision. Here it is made without that part and
with transformers' image processor for Pillow, so that every machine reads an image alike. The code that turns the text into token
ids is that of Qwen2VLProcessor. The pixels differ from those that it makes with torchvision by at most two of 255 levels (mean
0.008, images of noise), in how a resized value is rounded.
"""

from __future__ import annotations

from pathlib import Path

from transformers import Qwen2TokenizerFast, Qwen2VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

FOLDER = "processor"
IMAGE_TOKEN, VIDEO_TOKEN = "<|image_pad|>", "<|video_pad|>"


class ImageProcessor(Qwen2VLProcessor):
    """Qwen2VLProcessor for images alone: `(text=, images=, padding=, return_tensors=)` gives ids, mask, pixels and their grid."""

    def __init__(self, image_processor: Qwen2VLImageProcessorPil, tokenizer: Qwen2TokenizerFast) -> None:
        self.image_token, self.video_token = IMAGE_TOKEN, VIDEO_TOKEN
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids([IMAGE_TOKEN, VIDEO_TOKEN])
        ProcessorMixin.__init__(self, image_processor, tokenizer)  # that of Qwen2VLProcessor passes on a part for videos

    @classmethod
    def get_attributes(cls) -> list[str]:
        """Return the names of its parts."""
        return ["image_processor", "tokenizer"]


def read_processor(model: Path) -> ImageProcessor:
    """Return the processor of a diffusers folder. Raises OSError for files that are missing or not readable."""
    folder = model / FOLDER
    images = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
    return ImageProcessor(images, Qwen2TokenizerFast.from_pretrained(folder, local_files_only=True))
