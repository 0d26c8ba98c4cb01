"""Models from Hugging Face and ModelScope: what a repository has, which of it is needed, and how it gets here whole."""
