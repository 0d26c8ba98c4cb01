"""Show the studio as pages, without torch, SQL or the path of an image."""
