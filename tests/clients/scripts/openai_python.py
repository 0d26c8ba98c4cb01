import base64
import os

import openai

client = openai.OpenAI(base_url=f"{os.environ['BASE_URL']}/v1", api_key="none", max_retries=0)
assert "demo" in [model.id for model in client.models.list()]
image = client.images.generate(model="gpt-image-1", prompt="a red house", size="64x64").data[0].b64_json
events = list(client.images.generate(model="gpt-image-1", prompt="a", size="64x64", stream=True, partial_images=1))
assert events[-1].type == "image_generation.completed"
file = ("a.png", base64.b64decode(image), "image/png")
assert client.images.edit(model="gpt-image-1", prompt="a blue house", image=file, stream=False).data[0].b64_json
assert client.images.create_variation(model="dall-e-2", image=file, n=1).data[0].url
