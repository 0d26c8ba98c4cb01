"""Compiled kernels are kept in the output folder, by version and within a size."""

from __future__ import annotations

from core.config.compile_cache import FOLDER, INDUCTOR, TRITON, cache_variables, compile_cache, keep_within


def fill(folder, size):
    (folder / "inductor").mkdir(parents=True)
    (folder / "inductor" / "kernel.so").write_bytes(bytes(size))


def test_both_caches_are_below_the_output_folder_and_the_users_own_win(tmp_path):
    found = cache_variables(tmp_path, {})
    assert found == {INDUCTOR: str(compile_cache(tmp_path) / "inductor"), TRITON: str(compile_cache(tmp_path) / "triton")}
    assert cache_variables(tmp_path, {INDUCTOR: "/elsewhere"}) == {TRITON: found[TRITON]}


def test_other_versions_go_first_and_then_the_present_ones(tmp_path):
    other, present = tmp_path / FOLDER / "torch-1.0-python-3.8", compile_cache(tmp_path)
    fill(other, 600), fill(present, 500)
    assert keep_within(tmp_path, 2000) == 0 and other.exists()
    assert keep_within(tmp_path, 1000) == 600 and not other.exists() and present.exists()
    assert keep_within(tmp_path, 100) == 500 and not present.exists()
    assert keep_within(tmp_path) == 0, "nothing is there"
