import os

import litellm

litellm.telemetry = False
answer = litellm.image_generation(
    prompt="a red house", model="openai/gpt-image-1", size="64x64", api_base=f"{os.environ['BASE_URL']}/v1", api_key="none",
)  # fmt: skip
assert answer.data[0].b64_json, answer
