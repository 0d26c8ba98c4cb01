import os

from PIL import Image
from sd_backend_client import DiffusionParams, DiffusionRequestBody, connect_to_backend

backend = connect_to_backend(os.environ["BASE_URL"])
assert type(backend).__name__ == "A1111Webservice"
checkpoints = [one.name for one in backend.list_checkpoints()]
samplers = [one.name for one in backend.list_samplers()]
assert "demo" in checkpoints and "euler_ancestral" in samplers, (checkpoints, samplers)
for name in ("schedulers", "upscalers", "loras", "vaes", "styles", "hypernetworks"):
    getattr(backend, f"list_{name}", list)()
capabilities = backend.get_capabilities()
assert capabilities.controlnet and not capabilities.soft_inpainting, capabilities

small = {"prompt": "a red house", "width": 64, "height": 64, "steps": 2, "sd_model_name": "demo"}
seen = []
handle = backend.submit_txt2img(DiffusionRequestBody(**small, seed=7, batch_size=2, n_iter=2))
result = handle.wait(timeout=120, poll_interval=0.1, on_progress=lambda progress: seen.append(progress.status.value))
assert len(result.images) == 4 and list(result.seeds) == [7, 8, 9, 10] and seen, result
source = result.images[0]
mask = Image.new("L", source.size, 0)
mask.paste(255, (16, 16, 48, 48))
generated = {**small, "init_images": [source], "denoising_strength": 0.6}
assert backend.submit_img2img(DiffusionParams(**generated)).wait(timeout=120).images[0].size == (64, 64)
inside = backend.submit_inpaint(DiffusionParams(**generated, mask=mask)).wait(timeout=120).images[0]
assert inside.convert("RGB").getpixel((2, 2)) == source.convert("RGB").getpixel((2, 2))
assert backend.submit_upscale(source, 128, 128).wait(timeout=120).images[0].size == (128, 128)
