"""What the dispatcher knows of models without asking the disk again."""

from core.cluster.dispatcher import need_of
from core.config.loader import load_settings
from core.models.catalog import Catalog
from core.models.model_paths import places_of


def test_the_memory_that_a_model_needs_is_read_from_its_files_once(monkeypatch) -> None:
    settings, reads = load_settings(), []
    catalog = Catalog(settings.configs, places_of(settings))
    find = catalog.find
    monkeypatch.setattr(catalog, "find", lambda model: (reads.append(model), find(model))[1])
    need = need_of(catalog)
    first, *others = [need("demo") for _ in range(3)]
    assert first and first > 20_000_000 and others == [first, first] and reads == ["demo"]
    assert need("no such model") is None and need("no such model") is None and len(reads) == 3
