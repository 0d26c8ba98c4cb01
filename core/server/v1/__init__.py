"""Serve the studio's own API below /api: jobs, queue, inputs, images, benchmarks, exports."""
