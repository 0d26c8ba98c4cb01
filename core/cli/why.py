"""`history why A B`: generate from one image of the history to another, a change at a time, and rank the changes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

from core.cli.console import DONE, FAILED, SOURCE, STOPPED
from core.config.loader import load_settings
from core.errors import OptionError
from core.i18n import LANGUAGES
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.studio.why import change_words
from core.types import WhyPlan, WhyReport

LOOK_SECONDS = 0.2


def run(arguments: argparse.Namespace, language: str, configs: Path, environment: Mapping[str, str]) -> int:
    """Print the plan, generate it, print the ranking; the exit code. Ctrl+C cancels what is not generated yet."""
    assert language in LANGUAGES
    words = _WORDS[language]
    if not arguments.name or not arguments.other:
        raise OptionError(source=SOURCE, key="A B", value=arguments.name or "", allowed=words["ids"])
    settings = load_settings(configs, environment=environment)
    settings.raise_problems()
    studio = build_studio(settings)
    plan = studio.why.plan(arguments.name, arguments.other, arguments.size, arguments.renders)
    _print_plan(plan, language)
    if arguments.dry_run:
        return DONE
    study = studio.why.start(arguments.name, arguments.other, arguments.size, arguments.renders)
    studio.start()
    try:
        return _print_ranking(_wait(studio, study.id, words), words, language)
    except KeyboardInterrupt:
        studio.why.cancel(study.id)
        return STOPPED
    finally:
        studio.stop()


def _wait(studio: Studio, study_id: str, words: Mapping[str, str]) -> WhyReport:
    """Wait for the study and print each image as it is done. Raises the worker's error when none can run."""
    printed = 0
    while True:
        report = studio.why.report(study_id)
        if report.done > printed:
            printed = report.done
            print(words["done"].format(done=printed, total=report.study.plan.renders), flush=True)
        if not report.active:
            return report
        if trouble := studio.worker.status().trouble:
            studio.why.cancel(study_id)
            raise trouble
        time.sleep(LOOK_SECONDS)


def _print_plan(plan: WhyPlan, language: str) -> None:
    words = _WORDS[language]
    print(words["plan"].format(count=plan.renders, width=plan.size[0], height=plan.size[1]))
    for number, change in enumerate(plan.changes, start=1):
        print(f"  {number}. {change_words(change, language)}")
    for name, before, after in plan.fixed:
        print(words["fixed"].format(name=name, before=before, after=after))


def _print_ranking(report: WhyReport, words: Mapping[str, str], language: str) -> int:
    for step in report.ranked:
        print(f"{step.rank:3d}. {step.distance:8.3f}  {change_words(step.change, language)}  {step.image_id}")
    if report.failed:
        print(words["failed"].format(count=report.failed))
    return FAILED if report.failed else DONE


_WORDS = {
    "en": {
        "ids": "the ids of two images of the history",
        "plan": "{count} images at up to {width}x{height}: the first, then one after each change:",
        "fixed": "  cannot be switched: {name}: {before} -> {after}",
        "done": "{done} of {total} images",
        "failed": "{count} images could not be generated; see `queue list` and the log.",
    },
    "zh": {
        "ids": "历史中两张图片的编号",
        "plan": "共 {count} 张，不大于 {width}x{height}：先是第一张，然后每个改动一张：",
        "fixed": "  无法切换：{name}：{before} -> {after}",
        "done": "已完成 {done} / {total} 张",
        "failed": "{count} 张未能生成；请查看 `queue list` 与日志。",
    },
}
