"""Train the embedded model. Nothing here is imported while the app runs."""
