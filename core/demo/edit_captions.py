"""Say an edit as an instruction, in Chinese or English, in many wordings."""

from __future__ import annotations

import random
from collections.abc import Mapping

from core.demo.captions import COLORS, COUNTERS, ENGLISH_TAGS, KINDS, LANGUAGES, POSITIONS, SURROUNDINGS
from core.demo.edits import OPPOSITE, Edit
from core.demo.scenes import ATTRIBUTES, NONE

# What can be read from an instruction; "edit" is its kind, the others are what it names.
NAMED = ("kind", "color", "position", "time", "mountains", "celestial", "weather")

Wordings = Mapping[str, tuple[str, ...]]

WORDINGS: dict[str, Wordings] = {
    "en": {
        "recolour": (
            "make the {thing} {color}", "turn the {thing} {color}", "change the {thing} to {color}",
            "paint the {thing} {color}", "change the color of the {thing} to {color}", "the {thing} should be {color}",
        ),
        "add": ("add {thing}", "add {thing} {place}", "put {thing} {place}", "place {thing} {place}"),
        "add_surrounding": ("add {thing}", "add {thing}", "put {thing} in the picture", "place {thing} in the picture"),
        "remove": (
            "remove the {thing}", "delete the {thing}", "erase the {thing}", "take away the {thing}",
            "get rid of the {thing}", "remove the {thing} from the picture",
        ),
        "move": (
            "move the {thing} to the {side}", "shift the {thing} to the {side}", "put the {thing} {place}",
            "place the {thing} {place}", "the {thing} should be {place}",
        ),
        "time": ("make it {time}", "change it to {time}", "turn it into {time}", "change the time to {time}"),
        "rain": ("make it rain", "let it rain", "add rain", "make the weather rainy", "change the weather to rain"),
        "snow": ("make it snow", "let it snow", "add falling snow", "add snowfall", "change the weather to snowfall"),
        "clouds": ("add clouds", "make it cloudy", "change the weather to cloudy", "add clouds to the sky"),
        "clear": ("make the sky clear", "make the weather clear", "change the weather to clear sky"),
        "clear_of": ("remove the {weather}", "stop the {weather}", "remove the {weather}", "get rid of the {weather}"),
    },
    "zh": {
        "recolour": (
            "把{thing}变成{color}", "把{thing}改成{color}", "将{thing}改为{color}", "让{thing}变成{color}",
            "把{thing}的颜色改成{color}", "把{thing}涂成{color}", "{thing}换成{color}",
        ),
        "add": ("加{thing}", "添加{thing}", "加上{thing}", "{place}加{thing}", "在{place}加{thing}", "在{place}放{thing}"),
        "add_surrounding": ("加{thing}", "添加{thing}", "加上{thing}", "在画面里加上{thing}"),
        "remove": ("去掉{thing}", "把{thing}去掉", "删除{thing}", "把{thing}删掉", "移除{thing}", "擦掉{thing}"),
        "move": (
            "把{thing}移到{place}", "将{thing}移到{place}", "把{thing}移动到{place}", "把{thing}放到{place}",
            "让{thing}在{place}",
        ),
        "time": ("改成{time}", "变成{time}", "把时间改成{time}", "让它变成{time}", "换成{time}"),
        "rain": ("让它下雨", "加上雨", "变成雨天", "把天气改成下雨", "让天空下雨", "改成雨天"),
        "snow": ("让它下雪", "加上雪花", "变成下雪", "把天气改成下雪", "让天空下雪", "添加飘雪"),
        "clouds": ("加上云", "变成多云", "添加白云", "把天气改成多云", "加上云朵", "改成多云"),
        "clear": ("变成晴天", "把天气改成晴天", "让天空放晴", "改成晴朗"),
        "clear_of": ("去掉{weather}", "把{weather}去掉", "让{weather}停下", "删除{weather}"),
    },
}  # fmt: skip
_WEATHER = {
    "en": {"rain": ("rain",), "snow": ("falling snow", "snowfall"), "clouds": ("clouds",)},
    "zh": {"rain": ("雨", "大雨"), "snow": ("雪花", "飘雪"), "clouds": ("云", "白云", "云朵")},
}
_SURROUNDING = {
    "en": {"sun": ("sun",), "moon": ("moon", "crescent moon"), "mountains": ("mountains", "distant mountains"),
           "snowy": ("snowy mountains", "snow-capped mountains", "snowy peaks")},
    "zh": {"sun": ("太阳",), "moon": ("月亮", "弯月"), "mountains": ("群山", "远山", "山脉"),
           "snowy": ("雪山", "远处的雪山")},
}  # fmt: skip
_SIDES = {"left": ("left", "left side"), "centre": ("middle", "centre", "center"), "right": ("right", "right side")}
KEEP = {
    "en": (", keep everything else", ", keep the rest", ", and leave everything else as it is"),
    "zh": ("，其他不变", "，其余保持不变", "，其它都不变"),
}
PLEASE = {"en": ("please ",), "zh": ("请", "请你")}


def instruction(made: Edit, rng: random.Random, language: str | None = None) -> tuple[str, dict[str, str]]:
    """Return an instruction for the edit, and what it says: the attributes of `NAMED` that it names, by value."""
    language = language or rng.choice(LANGUAGES)
    text, named = _SAYS[made.kind](made, rng, language)
    if rng.random() < 0.08:
        text = rng.choice(PLEASE[language]) + text
    if rng.random() < 0.12:
        text += rng.choice(KEEP[language])
    return _dress(text, rng, language), named


def asked(made: Edit, named: Mapping[str, str]) -> frozenset[str]:
    """Return which changed attributes an instruction that says `named` states: a colour that it leaves open is free."""
    free = {"color2"} if made.kind == "add" and made.thing == "kind2" and "color" not in named else set()
    return made.changed - free


def _dress(text: str, rng: random.Random, language: str) -> str:
    if language == "zh":
        return text + rng.choice(("", "", "", "。"))
    text = text[:1].upper() + text[1:] if rng.random() < 0.3 else text
    return text + rng.choice(("", "", "", "."))


def _noun(kind: str, rng: random.Random, language: str) -> str:
    words = KINDS[language][kind]
    return words[0] if rng.random() < 0.6 else rng.choice(words)


def _color(color: str, rng: random.Random, language: str) -> str:
    words = COLORS[language][color]
    # A single character does not end a Chinese sentence.
    words = tuple(word for word in words if len(word) > 1) if language == "zh" else words
    return words[0] if rng.random() < 0.6 else rng.choice(words)


def _place(position: str, rng: random.Random, language: str) -> str:
    words = POSITIONS[language][position]
    longest = [word for word in words if len(word) > 1 and (language == "zh" or " " in word)]
    return rng.choice(longest)


def _recolour(made: Edit, rng: random.Random, language: str) -> tuple[str, dict[str, str]]:
    kind, color = getattr(made.before, made.thing), getattr(made.after, made.thing.replace("kind", "color"))
    text = rng.choice(WORDINGS[language]["recolour"])
    said = text.format(thing=_noun(kind, rng, language), color=_color(color, rng, language))
    return said, {"kind": kind, "color": color}


def _add(made: Edit, rng: random.Random, language: str) -> tuple[str, dict[str, str]]:
    value = getattr(made.after, made.thing)
    if made.thing != "kind2":
        noun = rng.choice(_SURROUNDING[language][value])
        if value in ("sun", "moon"):
            noun = (
                ("一个" if rng.random() < 0.5 else "") + noun if language == "zh" else rng.choice(("a ", "the ")) + noun
            )
        return rng.choice(WORDINGS[language]["add_surrounding"]).format(thing=noun), {made.thing: value}
    named = {"kind": value}
    noun = _noun(value, rng, language)
    if rng.random() < 0.85:
        named["color"] = made.after.color2
        tone = _color(made.after.color2, rng, language)
        noun = tone + rng.choice(("的", "")) + noun if language == "zh" else f"{tone} {noun}"
    thing = f"一{COUNTERS[value]}{noun}" if language == "zh" else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
    text = rng.choice(WORDINGS[language]["add"])
    place = OPPOSITE[made.after.position]
    if "{place}" in text:
        named["position"] = place
    return text.format(thing=thing, place=_place(place, rng, language)), named


def _remove(made: Edit, rng: random.Random, language: str) -> tuple[str, dict[str, str]]:
    value = getattr(made.before, made.thing)
    name = "kind" if made.thing == "kind2" else made.thing
    noun = _noun(value, rng, language) if name == "kind" else rng.choice(_SURROUNDING[language][value])
    return rng.choice(WORDINGS[language]["remove"]).format(thing=noun), {name: value}


def _move(made: Edit, rng: random.Random, language: str) -> tuple[str, dict[str, str]]:
    place = made.after.position
    text = rng.choice(WORDINGS[language]["move"]).format(
        thing=_noun(made.before.kind, rng, language),
        place=_place(place, rng, language),
        side=rng.choice(_SIDES[place]),
    )
    return text, {"kind": made.before.kind, "position": place}


def _time(made: Edit, rng: random.Random, language: str) -> tuple[str, dict[str, str]]:
    time = made.after.time
    words = ENGLISH_TAGS["time"][time] if language == "en" else SURROUNDINGS["zh"]["time"][time]
    return rng.choice(WORDINGS[language]["time"]).format(time=rng.choice(words)), {"time": time}


def _weather(made: Edit, rng: random.Random, language: str) -> tuple[str, dict[str, str]]:
    weather, was = made.after.weather, made.before.weather
    if weather == "clear" and rng.random() < 0.6:
        text = rng.choice(WORDINGS[language]["clear_of"]).format(weather=rng.choice(_WEATHER[language][was]))
    else:
        text = rng.choice(WORDINGS[language][weather])
    return text, {"weather": weather}


_SAYS = {
    "recolour": _recolour, "add": _add, "remove": _remove, "move": _move, "time": _time, "weather": _weather,
}  # fmt: skip


def classes(name: str) -> tuple[str, ...]:
    """Return the values that an instruction can give to an attribute of `NAMED`."""
    return tuple(value for value in ATTRIBUTES[name] if value != NONE)
