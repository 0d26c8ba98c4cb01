"""YAML from outside: aliases that expand without end, and texts of any size."""

from __future__ import annotations

import pytest

from core.config.loader import MAX_YAML_BYTES, parse_yaml
from core.errors import ConfigFileError

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "aliases"),
        ("a: &a {b: *a}", "aliases"),
        ("<<: *x", "aliases"),
        ("a: " + "x" * MAX_YAML_BYTES, "64 KB"),
        ("\n".join(f"k{n}: {n}" for n in range(3000)), "2000 keys"),
        ("a: [" + "1," * 9000 + "]", "2000 keys"),
        ("[" * 30_000, ""),
        ("a: !!python/object/apply:os.system [true]", "tag"),
    ],
    ids=["laughs", "recursive", "merge", "size", "keys", "list", "deep", "tag"],
)
@pytest.mark.by_default("laughs", "size", "keys", "deep", "tag")
def test_hostile_yaml_is_an_error_at_once(text: str, words: str) -> None:
    with pytest.raises(ConfigFileError) as caught:
        parse_yaml(text, "paste")
    assert words in str(caught.value)
