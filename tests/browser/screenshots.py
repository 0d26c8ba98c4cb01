"""Generate a few images with the embedded model and photograph every page for README and docs.

    python -m tests.browser.screenshots              docs/screenshots/*.webp, at 1440 and 420 px
    python -m tests.browser.screenshots --samples    the images of the first page, too: ui/assets/samples/*.webp
    python -m tests.browser.screenshots --to FOLDER  somewhere else, such as for a look at a change

Needs Chromium, Playwright and the embedded model. The images go into a folder of their own that is removed again.
"""

from __future__ import annotations

import argparse
import platform
import re
import tempfile
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from core.cli import site
from core.config.loader import PROJECT_ROOT, load_settings
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.types import AnnotationChange, Axis, GenerationRequest, HistoryQuery, Job
from tests.browser.chromium import (
    download_button,
    finished_image,
    launch,
    new_page,
    open_generate,
    prompt_of,
    running_app,
    stage_image,
)
from ui.prompts import Library, library_for

SAMPLES = PROJECT_ROOT / "ui" / "assets" / "samples"
GENERATION_SECONDS = 300  # for one image, on a machine that has other work
SAMPLE_SIDE = 320
LARGEST = 110_000  # bytes of a screenshot: all together stay under 1.5 MB
NAMES = {"comparison": "benchmark", "guide": "setup-check"}  # of files, where the address is another word
# The README need not name the machine: its kernel is cut down to the system, the temporary folder to the usual one.
NAMELESS = """([system, temporary]) => {
  const cut = () => document.querySelectorAll(".zd-card dd").forEach((fact) => {
    if (fact.textContent.startsWith(`${system}-`)) fact.textContent = system;
    if (fact.firstChild?.textContent.startsWith(temporary)) fact.firstChild.textContent = "outputs";
  });
  cut();
  new MutationObserver(cut).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", action="store_true", help="write the images of the first page")
    options.add_argument(
        "--to", type=Path, default=PROJECT_ROOT / "docs" / "screenshots", help="folder of the screenshots"
    )
    selected = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder)
        studio = build_studio(load_settings(overrides={"output.directory": folder}))
        with running_app(outputs) as address, sync_playwright() as playwright:
            context = launch(playwright)
            selected.to.mkdir(parents=True, exist_ok=True)
            if not selected.samples:
                photograph_welcome(new_page(context), address, selected.to)
            for sample_id, image_id in generate_samples(studio).items():
                if selected.samples:
                    save_sample(studio.history.file(image_id), sample_id)
            if selected.samples:
                print(f"wrote {SAMPLES}; run again without --samples for the screenshots")
            else:
                photograph(context, studio, address, selected.to)
            assert context.browser is not None
            context.browser.close()


def generate_samples(studio: Studio) -> dict[str, str]:
    """Return the ids of the images by the id of their sample, in both languages' words; the server's worker generates them."""
    made = {}
    for sample in library_of(studio).samples:
        for language in ("en", "zh"):
            request = studio.requests.new({"prompt": sample.text[language], "seed": sample.seed})
            made[sample.id] = generate(studio, request)
    return made


def generate(studio: Studio, request: GenerationRequest) -> str:
    """Return one image's id."""
    job = wait_for(studio, studio.queue.submit(request).id)
    if not job.image_ids:
        raise SystemExit(f"no image of {request.prompt!r}: {job.error or job.state}")
    return job.image_ids[0]


def wait_for(studio: Studio, job_id: str) -> Job:
    """Return the job once it has ended, or after GENERATION_SECONDS."""
    until = time.monotonic() + GENERATION_SECONDS
    while studio.queue.get(job_id).state.active and time.monotonic() < until:
        time.sleep(0.5)
    return studio.queue.get(job_id)


def library_of(studio: Studio) -> Library:
    """Return the prompts of the embedded model."""
    library = library_for("demo", studio.settings.configs / "prompts")
    assert library is not None
    return library


def save_sample(file: Path, sample_id: str) -> None:
    SAMPLES.mkdir(parents=True, exist_ok=True)
    with Image.open(file) as image:
        small = image.convert("RGB").resize((SAMPLE_SIDE, SAMPLE_SIDE), Image.Resampling.LANCZOS)
        small.save(SAMPLES / f"{sample_id}.webp", quality=85, method=6)


def photograph_welcome(page: Page, address: str, folder: Path) -> None:
    """The first page, before anything was made."""
    page.goto(f"{address}/?lang=zh")
    page.locator(".st-key-samples button").last.wait_for()
    shoot(page, folder / "welcome.webp")
    page.close()


def photograph(context: BrowserContext, studio: Studio, address: str, folder: Path) -> None:
    """Every page on a wide screen, in both themes and languages in turn, and two on a phone."""
    page = new_page(context, scheme="dark")
    for language, prompt, ending in (("zh", "红色的房子，日落，雪山", ".zh"), ("en", "a red house at sunset, snowy mountains", "")):
        make_one(page, address, language, prompt)
        shoot(page, folder / f"generate{ending}.webp")
        page.emulate_media(color_scheme="light")
        shoot(page, folder / f"generate-light{ending}.webp")
        page.emulate_media(color_scheme="dark")
    newest = studio.history.search(HistoryQuery(limit=3)).records
    page.goto(f"{address}/history?lang=en&image={newest[2].id}")
    page.locator(".st-key-detail_zoom img[src]").first.wait_for()
    shoot(page, folder / "history.webp")
    light = new_page(context, scheme="light")
    photograph_plot(light, studio, address, folder)
    photograph_why(light, studio, address, folder)
    photograph_live(light, address, folder)
    photograph_paused(light, studio, address, folder)
    photograph_hidden(light, studio, address, folder)
    phone = new_page(context, width=420, height=900, scheme="light")
    make_one(phone, address, "en", "a red house at sunset, snowy mountains")
    shoot(phone, folder / "phone.webp")
    with_work(studio)
    for name, tab, last, language in (
        ("queue", light, "[class*=st-key-row_] img", "en"),
        ("models", page, ".zd-card", "zh"),
        ("comparison", light, ".st-key-start_benchmark button", "en"),
        ("guide", light, ".st-key-steps button", "zh"),
        ("system", page, ".st-key-log", "en"),
    ):
        tab.goto(f"{address}/{name}?lang={language}")
        tab.locator(last).first.wait_for()
        tab.wait_for_timeout(1500)  # what is drawn by scripts, such as charts
        shoot(tab, folder / f"{NAMES.get(name, name)}.webp")
    phone.goto(f"{address}/queue?lang=zh")
    phone.locator("[class*=st-key-row_]").first.wait_for()
    shoot(phone, folder / "phone-queue.webp")
    studio.queue.clear()


def photograph_plot(page: Page, studio: Studio, address: str, folder: Path) -> None:
    """An X/Y plot of samples over steps and words of the prompt."""
    request = studio.requests.new({"prompt": "a red house, night, snow", "seed": 7})
    axes = (Axis("prompt.replace", ("red", "blue", "yellow")), Axis("generation.num_inference_steps", (2, 8)))
    sheet = studio.reruns.sweep_request(request, axes)
    for job_id in sheet.jobs:
        wait_for(studio, job_id)
    page.goto(f"{address}/sheet?lang=en&sheet={sheet.id}")
    page.locator(".zd-sweep img").last.wait_for()
    shoot(page, folder / "xy-plot.webp")


def photograph_why(page: Page, studio: Studio, address: str, folder: Path) -> None:
    """Why two images differ: the ranking, and the strip from the first to the second."""
    first = studio.requests.new({"prompt": "a red house at night, snow", "seed": 7, "num_inference_steps": 4})
    second = replace(first, prompt="a blue house at night, snow", seed=9, cfg_scale=2.0)
    ids = ",".join(generate(studio, request) for request in (first, second))
    page.goto(f"{address}/compare?lang=en&ids={ids}")
    page.locator(".st-key-why_start button:visible").click()
    page.locator(".st-key-why_again button:visible").wait_for()
    page.locator(".st-key-why").scroll_into_view_if_needed()
    shoot(page, folder / "why.webp")


def photograph_live(page: Page, address: str, folder: Path) -> None:
    """A draft while the CFG scale is moved."""
    make_one(page, address, "en", "a red house at night, snow")
    page.locator(".st-key-live_draft label").first.click()
    thumb = page.locator(".st-key-w-generation-cfg_scale [data-testid=stSliderThumbValue]").locator("xpath=..")
    box = thumb.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 6, box["y"] + 6)
    page.mouse.down()
    page.mouse.move(box["x"] + 40, box["y"] + 6, steps=4)
    page.locator("figure.live[data-shown]").wait_for()
    shoot(page, folder / "live-draft.webp", at_rest=False)
    page.mouse.up()


def photograph_paused(page: Page, studio: Studio, address: str, folder: Path) -> None:
    """A job that was paused in the middle of its image, with the button that resumes it; in both languages."""
    for language, prompt, ending in (("en", "a red house at night, snow", ""), ("zh", "红色的房子，夜晚，雪", ".zh")):
        open_generate(page, address, language)
        prompt_of(page).fill(prompt)
        page.locator(".st-key-w-generation-num_inference_steps input").fill("100")
        prompt_of(page).press("Control+Enter")
        expect(stage_image(page)).to_have_attribute("src", re.compile("/preview"))
        pause = page.locator(".st-key-pause button:visible")
        pause.click()
        expect(pause).to_contain_text({"en": "Resume", "zh": "继续"}[language])
        shoot(page, folder / f"paused{ending}.webp")
        studio.queue.clear()


def photograph_hidden(page: Page, studio: Studio, address: str, folder: Path) -> None:
    """The menu of hidden collections, before one with all but two images is unlocked; in both languages."""
    *others, _, _ = studio.history.ids(HistoryQuery())
    studio.history.change(others, AnnotationChange(add_collections=("private",)))
    studio.collections.hide("private", "correct horse")
    for language, ending in (("en", ""), ("zh", ".zh")):
        page.goto(f"{address}/history?lang={language}")
        page.locator(".st-key-hidden_menu button").first.click()
        page.locator(".st-key-hidden_name input").fill("private")
        page.locator(".st-key-hidden_password input").fill("correct horse")
        expect(page.locator(".st-key-gallery .tile")).to_have_count(2)
        shoot(page, folder / f"hidden{ending}.webp")
    studio.collections.show_again("private", "correct horse")


def with_work(studio: Studio) -> None:
    """Put a long job and some that wait into the queue."""
    for k, sample in enumerate(library_of(studio).samples[:4]):
        values = {"prompt": sample.text["en"], "seed": k, "num_inference_steps": 100, "num_images": 4 - k}
        studio.queue.submit(studio.requests.new(values))


def make_one(page: Page, address: str, language: str, prompt: str) -> None:
    """As a person does it: write, Ctrl+Enter, wait."""
    open_generate(page, address, language)
    prompt_of(page).fill(prompt)
    prompt_of(page).press("Control+Enter")
    expect(stage_image(page)).to_have_attribute("alt", prompt, timeout=GENERATION_SECONDS * 1000)
    finished_image(page).evaluate("image => image.decode()")
    page.locator(".st-key-progress").wait_for(state="hidden")
    download_button(page).wait_for()


def shoot(page: Page, file: Path, at_rest: bool = True) -> None:
    """A WebP of at most LARGEST bytes, after the last thumbnails have come in. Not `at_rest`: the pointer stays where it is."""
    if at_rest:
        page.mouse.move(0, 0)
    page.wait_for_timeout(2500)
    page.evaluate(NAMELESS, [platform.system(), tempfile.gettempdir()])  # again whenever the page refreshes
    image = Image.open(BytesIO(page.screenshot())).convert("RGB")
    for quality in (90, 80, 65, 50):
        image.save(file, quality=quality, method=6)
        if file.stat().st_size <= LARGEST:
            break
    if file.parent == PROJECT_ROOT / site.SCREENSHOTS:
        site.record(PROJECT_ROOT, file.name)
    print(f"{file.name}: {file.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
