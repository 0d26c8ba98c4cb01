import os

from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

wrapper = DallEAPIWrapper(api_key="none", base_url=f"{os.environ['BASE_URL']}/v1", size="64x64")
address = wrapper.run("a red house")
assert address.startswith(os.environ["BASE_URL"]), address
