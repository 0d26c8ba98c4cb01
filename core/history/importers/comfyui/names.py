"""List the input names under which nodes of ComfyUI and its extensions take prompts, texts, models, latents and pipes."""

POSITIVE = (
    "positive", "positive_prompt", "text_positive", "positive_text", "prompt_positive", "base_positive", "pos",
    "optional_positive", "positive_cond", "positive_conditioning", "conditioning_positive", "cond_pos",
    "positive_cond_base",
)  # fmt: skip
NEGATIVE = (
    *(name.replace("positive", "negative").replace("pos", "neg") for name in POSITIVE),
    "neg_conditioning",
    "uncond",
)
SIDES = {"positive": POSITIVE, "negative": NEGATIVE}
PIPES = (
    "pipe", "basic_pipe", "base_ctx", "context", "ctx", "detailer_pipe", "sdxl_tuple", "sdxl_pipe", "pipe_opt",
    "optional_pipe", "loader_pipe", "model_pipe", "pipe_line", "settings",
    "base_sampler",
)  # fmt: skip
TEXTS = (
    "populated_text", "user_prompt", "text", "prompt", "t5xxl", "mt5xl", "text_g", "clip_g", "positive_prompt",
    "string", "value", "clip_l", "text_l", "bert", "multiline_text", "txt", "str", "String", "Text", "output_text",
    "text_0", "prompt_text", "result", "wildcard_text", "input", "anything", "source", "any", "text_positive",
    "widget_0",
)  # fmt: skip
MODELS = (
    "ckpt_name", "unet_name", "model_name", "base_ckpt_name", "gguf_name", "checkpoint", "ckpt", "unet",
    "modelname", "model_path", "diffusion_model", "nunchaku_model_path", "model_id", "repo_id", "base_model",
)  # fmt: skip
MODEL_LINKS = (
    "model", "model1", "model_1", "model_a", "MODEL", "unet", "base_model", "diffusion_model", "optional_model",
    "model_opt", "opt_model", "transformer", "pipeline",
)  # fmt: skip
LATENTS = (
    "latent_image", "latent", "samples", "latents", "optional_latent", "latent_opt", "init_latent", "latent_in",
    "image_embeds", "samples1", "samples_1", "pixels", "image", "images", "optional_image", "image_opt",
    "start_image", "sample",
)  # fmt: skip
NOT_TEXT = (
    "clip", "vae", "model", "image", "mask", "control_net", "style_model", "clip_vision", "latent", "samples",
    "sigmas", "noise",
)  # fmt: skip
