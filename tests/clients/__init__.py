"""The clients that people own, run for real or spoken as their sources do. docs/clients.md is made from the run."""
