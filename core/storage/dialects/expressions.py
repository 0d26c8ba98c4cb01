"""Build SQL expressions that the databases spell differently."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class stored_text(FunctionElement[str]):
    """A JSON column as the text that it holds, so that a broken one is met in Python and not in the driver."""

    type = String()
    inherit_cache = True


@compiles(stored_text)
def _as_it_is(element: stored_text, compiler: Any, **given: Any) -> str:
    return str(compiler.process(element.clauses, **given))


@compiles(stored_text, "postgresql")
def _cast(element: stored_text, compiler: Any, **given: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **given)} AS TEXT)"
