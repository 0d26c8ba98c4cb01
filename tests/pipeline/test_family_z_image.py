"""Z-Image keeps the contract of a family."""

from . import toys
from .family_contract import FamilyContract


class TestZImage(FamilyContract):
    pipeline = "ZImagePipeline"

    def build(self, folder):
        return toys.z_image(folder)
