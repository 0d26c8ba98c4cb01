"""Z-Image keeps the contract of a family."""

from tests.models import tiny_models
from tests.models.family_contract import FamilyContract


class TestZImage(FamilyContract):
    pipeline = "ZImagePipeline"

    def build(self, folder):
        return tiny_models.z_image(folder)
