"""Render small HTML pages beside Streamlit's with one style, without a script, a font or an image."""

from __future__ import annotations

from html import escape

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse

# The palettes of .streamlit/config.toml.
_STYLE = """
:root { color-scheme: light dark; --ground: #faf8f5; --card: #efeae3; --ink: #26211c; --quiet: #6b6258;
  --line: #d8d0c5; --act: #96500a; --on-act: #ffffff; --link: #8a4a09; --bad: #a3262f; }
@media (prefers-color-scheme: dark) { :root { --ground: #141210; --card: #211d1a; --ink: #ece5db; --quiet: #a89d90;
  --line: #3a332d; --act: #f2a33a; --on-act: #141210; --link: #f5b25a; --bad: #ff9c93; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.5;
  font: 16px "Source Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; }
a { color: var(--link); }
main.small { max-width: 22rem; margin: 12vh auto 2rem; padding: 0 1rem; }
main.wide { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 1rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: .95rem; margin: 1rem 0 .25rem; }
form { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1.25rem; }
label { display: block; font-size: .9rem; margin: 0 0 1rem; }
input { display: block; width: 100%; margin-top: .25rem; padding: .55rem .7rem; font: inherit; color: inherit;
  background: var(--ground); border: 1px solid var(--quiet); border-radius: .4rem; }
button { width: 100%; padding: .6rem; font: inherit; font-weight: 600; color: var(--on-act); background: var(--act);
  border: 0; border-radius: .4rem; cursor: pointer; }
:focus-visible { outline: 2px solid var(--act); outline-offset: 2px; }
.bad { color: var(--bad); margin: 0 0 1rem; } .quiet { color: var(--quiet); font-size: .85rem; }
code, pre { font-family: "Source Code Pro", ui-monospace, monospace; font-size: .85rem; overflow-wrap: anywhere; }
pre { background: var(--card); padding: .75rem; border-radius: .4rem; overflow-x: auto; white-space: pre-wrap; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; background: var(--card); }
summary { padding: .6rem .8rem; cursor: pointer; overflow-wrap: anywhere; }
summary b { display: inline-block; min-width: 4.2rem; color: var(--link); }
.inside { padding: 0 .8rem .8rem; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-top: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 400; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def html_page(title: str, language: str, body: str, status: int = 200, wide: bool = False) -> HTMLResponse:
    """Return a whole page; `body` is HTML, `title` text."""
    words = (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f'<body><main class="{"wide" if wide else "small"}">{body}</main></body></html>'
    )
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(words, status_code=status, headers=headers)


def language_of(asked: str | None, headers: Headers) -> str:
    """Return the language in the address, else the first language of the browser."""
    if asked in ("zh", "en"):
        return asked
    return "zh" if headers.get("accept-language", "").lower().startswith("zh") else "en"
