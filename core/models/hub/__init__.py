"""Download models from Hugging Face and ModelScope: list a repository, select the needed files, fetch and verify them."""
