"""The process that reads image files, with a parser that never ends for one file and takes all memory for another."""

from core.history import reading_process
from core.types import FoundParameters

ENDLESS, GREEDY = b"endless", b"greedy"


def read_parameters(file) -> FoundParameters:  # type: ignore[no-untyped-def]
    data = file.read()
    while data == ENDLESS:
        pass
    return FoundParameters(str(bytearray(2 * reading_process.MEMORY)) if data == GREEDY else "read", {}, {})


if __name__ == "__main__":
    reading_process.read_parameters = read_parameters  # type: ignore[assignment]
    reading_process.main()
