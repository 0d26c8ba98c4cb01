"""Samples of memory and GPU for the charts."""

from __future__ import annotations

from core.studio.hardware import Gauges, GpuSample, parse_gpus


def test_nvidia_smi_is_read_and_what_it_does_not_tell_is_unknown():
    text = "1024, 16384, 37, 61\n512, 8192, [N/A], [N/A]\nnot a line\n"
    assert parse_gpus(text) == (GpuSample(1 << 30, 16 << 30, 37.0, 61.0), GpuSample(512 << 20, 8 << 30, None, None))


def test_samples_are_kept_in_order():
    gauges = Gauges(lambda: 7)
    first, second = gauges.take(), gauges.take()
    assert gauges.samples() == (first, second) and first.worker == 7 and 0 < first.memory_used < first.memory_total
