import os
from urllib.parse import urlparse

import webuiapi
from PIL import Image

told = urlparse(os.environ["BASE_URL"])
client = webuiapi.WebUIApi(host=told.hostname, port=told.port)
client.util_set_model("demo")
small = {"width": 64, "height": 64, "steps": 2, "cfg_scale": 1}
image = client.txt2img(prompt="a red house", seed=7, **small).image
client.img2img(images=[image], mask_image=Image.new("RGB", (64, 64), "white"), prompt="a blue house", **small)
assert client.extra_single_image(image=image, upscaler_1="Lanczos", upscaling_resize=2).image.size == (128, 128)
assert client.png_info(image).info
for listed in (
    "upscalers",
    "sd_vae",
    "hypernetworks",
    "face_restorers",
    "prompt_styles",
    "embeddings",
    "cmd_flags",
    "loras",
):
    getattr(client, f"get_{listed}", lambda: None)()
client.refresh_checkpoints()
