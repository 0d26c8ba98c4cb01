"""Names of the pipeline classes that tests use."""

Z_IMAGE = "ZImagePipeline"
Z_IMAGE_CONTROL = "ZImageControlNetPipeline"
SD = "StableDiffusionPipeline"
SDXL = "StableDiffusionXLPipeline"
SDXL_CONTROL = "StableDiffusionXLControlNetPipeline"
