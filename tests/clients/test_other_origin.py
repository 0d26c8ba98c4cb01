"""KoboldAI Lite as a browser runs it: a page of another origin in a real Chromium."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest

from tests.integration.server.live import serving

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = "/usr/bin/chromium"
SCRIPT = """async (base) => {
  const models = await (await fetch(`${base}/sdapi/v1/sd-models`)).json();
  const body = {prompt: "a", sampler_name: "Euler a", width: 64, height: 64, steps: 2, cfg_scale: 7, seed: -1};
  const answer = await fetch(`${base}/sdapi/v1/txt2img`, {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
  });
  return [models.length, (await answer.json()).images.length];
}"""


@pytest.mark.browser
@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="there is no Chromium on this machine")
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.by_default("True")
def test_page_of_another_origin_generates_where_it_is_named(tmp_path: Path, named: bool) -> None:
    elsewhere = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{elsewhere.server_port}"
    try:
        with serving(tmp_path, **{"server.cors_origins": (origin,) if named else ()}) as served:
            with sync_api.sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                page = browser.new_page()
                page.goto(f"{origin}/CHANGELOG.md")
                if named:
                    assert page.evaluate(SCRIPT, served.url) == [1, 1]
                else:
                    with pytest.raises(sync_api.Error, match="Failed to fetch"):
                        page.evaluate(SCRIPT, served.url)
                browser.close()
    finally:
        elsewhere.shutdown()
