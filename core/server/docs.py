"""Render the API documentation from the OpenAPI documents as a page of our own, without scripts or foreign resources."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse

from core.server.html_pages import html_page, language_of

Documents = Callable[[], Sequence[tuple[str, Mapping[str, Any]]]]
_METHODS = ("get", "post", "put", "patch", "delete")
_WORDS = {
    "en": {
        "title": "Service · Z Darkroom",
        "lead": "What programs can ask of this studio, in three dialects over the same queue. Where the studio asks who you "
        "are, send its token as <code>Authorization: Bearer</code>, or a user as <code>NAME:PASSWORD</code> there or by "
        "HTTP Basic.",
        "document": "OpenAPI document",
        "given": "Given",
        "body": "Body",
        "answers": "Answers",
        "name": "Name",
        "kind": "Value",
        "meaning": "Meaning",
        "required": "required",
        "other": "中文",
    },
    "zh": {
        "title": "接口 · 造相暗房",
        "lead": "程序可以向本工作室请求的内容：三种方言，同一队列。若工作室需要验证身份，请以 <code>Authorization: Bearer</code> "
        "发送令牌，或以同样方式或 HTTP Basic 发送 <code>用户名:密码</code>。",
        "document": "OpenAPI 文档",
        "given": "参数",
        "body": "请求体",
        "answers": "应答",
        "name": "名称",
        "kind": "取值",
        "meaning": "含义",
        "required": "必填",
        "other": "English",
    },
}


def docs_routes(documents: Documents) -> APIRouter:
    """Return the route /docs. `documents` gives (mount path, OpenAPI document) of each API."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    def docs(request: Request, lang: str | None = None) -> HTMLResponse:
        return draw(documents(), language_of(lang, request.headers))

    return router


def documents_of(apps: Mapping[str, FastAPI]) -> Documents:
    """Return the OpenAPI documents by mount path."""
    return lambda: [(path, app.openapi()) for path, app in apps.items()]


def draw(documents: Sequence[tuple[str, Mapping[str, Any]]], language: str) -> HTMLResponse:
    """Render the page in "zh" or "en"; descriptions are those of the documents."""
    words = _WORDS[language]
    other = "en" if language == "zh" else "zh"
    body = f'<h1>{words["title"]}</h1><p>{words["lead"]}</p><p><a href="?lang={other}">{words["other"]}</a></p>'
    for path, document in documents:
        address = escape(f"{path}/openapi.json")
        title = escape(str(document["info"]["title"]))
        body += f'<h2>{title}</h2><p class="quiet">{words["document"]}: <a href="{address}">{address}</a></p>'
        for route, methods in document.get("paths", {}).items():
            for method in _METHODS:
                if method in methods:
                    body += _operation(method, path + route, methods[method], document, words)
    return html_page(words["title"], language, body, wide=True)


def _operation(
    method: str, path: str, operation: Mapping[str, Any], document: Mapping[str, Any], words: Mapping[str, str]
) -> str:
    summary = escape(str(operation.get("description") or operation.get("summary", "")))
    inside = ""
    given = [
        (one["name"], one.get("schema", {}), one.get("description", ""), one.get("required", False))
        for one in operation.get("parameters", ())
    ]
    if given:
        inside += _table(words["given"], given, document, words)
    content = operation.get("requestBody", {}).get("content", {})
    for kind, entry in content.items():
        schema = _resolved(entry.get("schema", {}), document)
        needed = schema.get("required", ())
        fields = [
            (name, field, _resolved(field, document).get("description", ""), name in needed)
            for name, field in schema.get("properties", {}).items()
        ]
        inside += _table(f"{words['body']} <code>{escape(kind)}</code>", fields, document, words)
    answers = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{escape(str(answer.get('description', '')))}</td></tr>"
        for status, answer in operation.get("responses", {}).items()
    )
    inside += f'<h3>{words["answers"]}</h3><div class="scroll"><table>{answers}</table></div>'
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code><br>"
        f'<span class="quiet">{summary}</span></summary><div class="inside">{inside}</div></details>'
    )


def _table(
    title: str,
    fields: Sequence[tuple[str, Mapping[str, Any], str, bool]],
    document: Mapping[str, Any],
    words: Mapping[str, str],
) -> str:
    mark = f" <small>{words['required']}</small>"
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{mark if needed else ''}</td>"
        f"<td>{escape(_kind(schema, document))}</td><td>{escape(str(meaning))}</td></tr>"
        for name, schema, meaning, needed in fields
    )
    head = f"<tr><th>{words['name']}</th><th>{words['kind']}</th><th>{words['meaning']}</th></tr>"
    return f'<h3>{title}</h3><div class="scroll"><table>{head}{rows}</table></div>' if rows else f"<h3>{title}</h3>"


def _kind(schema: Mapping[str, Any], document: Mapping[str, Any], depth: int = 0) -> str:
    """Return what may be given, in a few words."""
    schema = _resolved(schema, document)
    for several in ("anyOf", "oneOf"):
        if several in schema and depth < 4:
            kinds = dict.fromkeys(_kind(one, document, depth + 1) for one in schema[several])
            return " | ".join(kind for kind in kinds if kind != "null")
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    bounds = [schema.get("minimum"), schema.get("maximum")]
    limits = f" {_plain(bounds[0])} – {_plain(bounds[1])}" if bounds != [None, None] else ""
    return f"{schema.get('type', 'any')}{limits}"


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:.16g}"


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return where a schema only names another, that one."""
    name = str(schema.get("$ref", ""))
    if not name.startswith("#/components/schemas/"):
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"].get(name.rsplit("/", 1)[-1], {})
    return found
