"""Describe a scene in Chinese or English: tags, phrases or a sentence, some of its attributes, in many wordings.

Every caption comes with the names of the attributes that it states, because only those can be asked of an image.
What a caption leaves out is simply as it was sampled, so a short prompt gives a varied image.
"""

from __future__ import annotations

import random

from core.demo.scenes import NONE, Scene

LANGUAGES = ("zh", "en")

KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "house": ("house", "cottage", "small house", "home"),
        "tree": ("tree", "big tree", "round tree"),
        "lighthouse": ("lighthouse", "tall lighthouse"),
        "sailboat": ("sailboat", "sailing boat", "boat"),
        "balloon": ("hot air balloon", "hot-air balloon", "balloon"),
        "car": ("car", "little car", "automobile"),
        "windmill": ("windmill", "old windmill"),
        "castle": ("castle", "fairytale castle", "palace"),
        "tent": ("tent", "camping tent"),
        "rocket": ("rocket", "space rocket", "rocket ship", "spaceship"),
    },
    "zh": {
        "house": ("房子", "小房子", "房屋", "小屋", "屋子"),
        "tree": ("树", "大树", "树木"),
        "lighthouse": ("灯塔", "高高的灯塔"),
        "sailboat": ("帆船", "小帆船", "小船", "船"),
        "balloon": ("热气球", "气球"),
        "car": ("汽车", "小汽车", "车", "轿车", "车子"),
        "windmill": ("风车", "大风车", "老风车"),
        "castle": ("城堡", "古堡", "宫殿"),
        "tent": ("帐篷", "露营帐篷"),
        "rocket": ("火箭", "宇宙火箭", "飞船"),
    },
}
COLORS = {
    "zh": {
        "red": ("红色", "红", "大红色"), "orange": ("橙色", "橘色", "橘黄色", "橙"), "yellow": ("黄色", "黄", "金黄色"),
        "green": ("绿色", "绿", "翠绿色"), "blue": ("蓝色", "蓝", "深蓝色"), "purple": ("紫色", "紫"),
        "pink": ("粉色", "粉红色", "粉"), "white": ("白色", "白", "纯白色"),
    },
    "en": {
        "red": ("red", "bright red"), "orange": ("orange",), "yellow": ("yellow", "bright yellow"),
        "green": ("green",), "blue": ("blue", "deep blue"), "purple": ("purple", "violet"),
        "pink": ("pink",), "white": ("white", "snow-white"),
    },
}  # fmt: skip
POSITIONS = {
    "zh": {"left": ("左边", "左侧", "画面左边", "左"), "centre": ("中间", "中央", "正中间", "画面中央", "居中"),
           "right": ("右边", "右侧", "画面右边", "右")},
    "en": {"left": ("on the left", "on the left side", "at the left", "left"),
           "centre": ("in the middle", "in the centre", "in the center", "centered", "centre", "center"),
           "right": ("on the right", "on the right side", "at the right", "right")},
}  # fmt: skip

# Words that stand alone as a tag, and as the end of an English sentence ("a house at sunset").
SURROUNDINGS: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {
    "zh": {
        "time": {
            "dawn": ("黎明", "清晨", "早晨", "日出", "拂晓", "破晓"),
            "day": ("白天", "中午", "正午", "大白天", "日间"),
            "sunset": ("日落", "黄昏", "傍晚", "夕阳西下", "日落时分"),
            "night": ("夜晚", "夜里", "晚上", "深夜", "夜色", "黑夜"),
        },
        "ground": {
            "meadow": ("草地", "草原", "绿草地", "草坪", "草地上"),
            "desert": ("沙漠", "沙丘", "沙漠里", "戈壁"),
            "snow": ("雪地", "雪原", "积雪的大地", "雪地上"),
            "sea": ("大海", "海上", "海面", "海洋", "海边"),
            "lavender": ("薰衣草田", "薰衣草花田", "花田", "紫色花海", "薰衣草"),
        },
        "mountains": {
            "none": ("没有山", "无山", "平原"),
            "mountains": ("山", "群山", "远山", "山脉", "大山"),
            "snowy": ("雪山", "远处的雪山", "白雪覆盖的山", "积雪的山峰"),
        },
        "celestial": {
            "none": ("没有太阳和月亮",),
            "sun": ("太阳", "有太阳", "一轮太阳", "阳光"),
            "moon": ("月亮", "月牙", "弯月", "一弯月亮", "月光"),
        },
        "weather": {
            "clear": ("晴朗", "晴天", "晴空", "万里无云"),
            "clouds": ("多云", "白云", "有云", "云朵"),
            "rain": ("下雨", "雨天", "雨", "大雨", "下着雨"),
            "snow": ("下雪", "雪花飘飘", "飘雪", "下着雪", "大雪纷飞"),
        },
    },
    "en": {
        "time": {
            "dawn": ("at dawn", "in the early morning", "at sunrise", "in the morning"),
            "day": ("by day", "in the daytime", "at noon", "in daylight", "during the day"),
            "sunset": ("at sunset", "at dusk", "in the evening", "during sunset"),
            "night": ("at night", "in the night", "at midnight", "by night"),
        },
        "ground": {
            "meadow": ("on a meadow", "in a green meadow", "on the grass", "in a grassy field", "on grassland"),
            "desert": ("in the desert", "on sand dunes", "in a sandy desert", "on the sand"),
            "snow": ("on snow", "in a snowy field", "on snowy ground", "on the snow"),
            "sea": ("in the sea", "on the ocean", "at sea", "on the water", "by the sea"),
            "lavender": ("in a lavender field", "in lavender", "in a flower field", "among lavender flowers"),
        },
        "mountains": {
            "none": ("no mountains", "without mountains"),
            "mountains": ("mountains", "mountains in the background", "with mountains", "distant mountains"),
            "snowy": ("snowy mountains", "snow-capped mountains", "with snowy mountains", "snowy peaks"),
        },
        "celestial": {
            "none": ("no sun and no moon",),
            "sun": ("sun", "with the sun", "the sun in the sky", "sunshine"),
            "moon": ("moon", "with a moon", "crescent moon", "moonlight"),
        },
        "weather": {
            "clear": ("clear sky", "clear weather", "with a clear sky", "cloudless"),
            "clouds": ("clouds", "cloudy", "with clouds", "clouds in the sky"),
            "rain": ("rain", "rainy", "in the rain", "raining"),
            "snow": ("snowing", "falling snow", "with falling snow", "snowfall", "snowflakes"),
        },
    },
}
# The bare nouns that people put between commas in English.
ENGLISH_TAGS = {
    "time": {"dawn": ("dawn", "sunrise", "early morning", "morning"), "day": ("day", "daytime", "noon", "daylight"),
             "sunset": ("sunset", "dusk", "evening"), "night": ("night", "nighttime", "midnight")},
    "ground": {"meadow": ("meadow", "grass", "grassland", "green field"), "desert": ("desert", "sand dunes", "sand"),
               "snow": ("snow field", "snowy ground", "snow-covered ground"), "sea": ("sea", "ocean", "water"),
               "lavender": ("lavender field", "lavender", "flower field", "purple flowers")},
}  # fmt: skip
ENGLISH_LINKS = ("in ", "on ", "at ", "by ", "with ", "without ", "during ", "among ")
COUNTERS = {"house": "座", "tree": "棵", "lighthouse": "座", "sailboat": "艘", "balloon": "个", "car": "辆",
            "windmill": "座", "castle": "座", "tent": "顶", "rocket": "枚"}  # fmt: skip
FILLERS: dict[str, tuple[str, ...]] = {
    "zh": ("高清", "海报", "插画", "扁平风格", "精美", "好看的", "4k", "杰作", "简约", "风景画", "高质量", "唯美"),
    "en": ("beautiful", "4k", "poster", "flat illustration", "high quality", "masterpiece", "minimalist", "detailed",
           "vector art", "pretty", "best quality", "scenery"),
}  # fmt: skip
# Simplified to traditional, for the characters of this vocabulary.
TRADITIONAL = str.maketrans(
    "红绿蓝树灯热气车风宫帐阳边侧间画晓无积云飘纷飞个辆顶张远处脉没万质简约",
    "紅綠藍樹燈熱氣車風宮帳陽邊側間畫曉無積雲飄紛飛個輛頂張遠處脈沒萬質簡約",
)

# How often each attribute is named in a caption that says only a part.
NAMED = {"color": 0.92, "position": 0.4, "second": 0.93, "ground": 0.65, "time": 0.7, "mountains": 0.55,
         "celestial": 0.75, "weather": 0.7}  # fmt: skip
# "no mountains" is worth a word far less often than mountains; clear weather sometimes.
NAMED_WHEN_PLAIN = {"mountains": 0.08, "celestial": 0.06, "weather": 0.25}
# The part of captions that name all, and of those that name little beside the object.
EVERYTHING, LITTLE = 0.3, 0.1


def caption(scene: Scene, rng: random.Random, language: str | None = None) -> tuple[str, frozenset[str]]:
    """Return a caption of `scene`, and the names of the attributes it states."""
    language = language or rng.choice(LANGUAGES)
    named = _choose(scene, rng)
    things = _things(scene, named, language, rng)
    parts = _surroundings(scene, named, language, rng)
    text = (_chinese if language == "zh" else _english)(things, parts, rng)
    return _dress(text, language, rng), frozenset(named)


def _choose(scene: Scene, rng: random.Random) -> set[str]:
    amount = rng.random()
    everything, little = amount < EVERYTHING, amount > 1 - LITTLE
    named = {"kind"}
    for name in ("color", "position", "ground", "time", "mountains", "celestial", "weather"):
        plain = getattr(scene, name) in (NONE, "clear")
        chance = NAMED_WHEN_PLAIN[name] if plain else 1.0 if everything else NAMED[name] * (0.4 if little else 1)
        if rng.random() < chance:
            named.add(name)
    if scene.kind2 != NONE and (everything or rng.random() < NAMED["second"]):
        named |= {"kind2", "color2"} if rng.random() < NAMED["color"] else {"kind2"}
    # A bare landscape is a prompt, too; a position without its object is not.
    if rng.random() < 0.04 and named & {"ground", "time"}:
        named -= {"kind", "color", "position", "kind2", "color2"}
    return named


def _things(scene: Scene, named: set[str], language: str, rng: random.Random) -> list[tuple[str, str]]:
    """Return the objects as (phrase, place), the first one first; the place is empty where the caption leaves it out."""
    if "kind" not in named:
        return []
    chinese = language == "zh"
    counted = rng.random() < 0.4 if chinese else rng.random() < 0.75
    opposite = {"left": "right", "right": "left", "centre": "centre"}[scene.position]
    rows = [(scene.kind, scene.color if "color" in named else "", scene.position)]
    if "kind2" in named:
        rows.append((scene.kind2, scene.color2 if "color2" in named else "", opposite))
    things = []
    for kind, color, place in rows:
        noun = rng.choice(KINDS[language][kind]) if rng.random() < 0.5 else KINDS[language][kind][0]
        tone = rng.choice(COLORS[language][color]) if color else ""
        if chinese:
            tone += "的" if color and (len(tone) == 1 or rng.random() < 0.7) and rng.random() < 0.95 else ""
            phrase = (f"一{COUNTERS[kind]}" if counted else "") + tone + noun
        else:
            phrase = f"{tone} {noun}" if tone else noun
            article = "an" if phrase[0] in "aeiou" else "a"
            phrase = f"{article} {phrase}" if counted else phrase
        things.append((phrase, rng.choice(POSITIONS[language][place]) if "position" in named else ""))
    return things


def _surroundings(scene: Scene, named: set[str], language: str, rng: random.Random) -> list[tuple[str, str]]:
    """Return (tag, end of a sentence) for each named surrounding, in random order."""
    parts = []
    for name in ("time", "ground", "mountains", "celestial", "weather"):
        if name in named:
            value = getattr(scene, name)
            words = SURROUNDINGS[language][name][value]
            long = rng.choice(words)
            short = ENGLISH_TAGS.get(name, {}).get(value, words) if language == "en" else words
            parts.append((rng.choice(short), long))
    rng.shuffle(parts)
    return parts


def _chinese(things: list[tuple[str, str]], parts: list[tuple[str, str]], rng: random.Random) -> str:
    comma = rng.choice(("，", "，", "，", ", ", " ", "、", ","))
    tags = [tag for tag, _ in parts]
    style = rng.random()
    if not things or style < 0.45:
        objects = [thing + (rng.choice(("在", "，", "，位于", "")) + place if place else "") for thing, place in things]
        if len(objects) > 1 and rng.random() < 0.5:
            objects = [rng.choice(("和", "与", "跟")).join(objects)]
        tags += _filler("zh", rng)
        if rng.random() < 0.6:
            return comma.join(objects + tags)
        at = rng.randrange(len(tags) + 1)
        return comma.join(tags[:at] + objects + tags[at:])
    clauses = []
    for thing, place in things:
        clauses.append(rng.choice((f"{place}有{thing}", f"{place}是{thing}", f"{thing}在{place}")) if place else thing)
    clause = rng.choice(("，", "，", "和")).join(clauses)
    if style < 0.75:
        opening = rng.choice(("画一张图：", "一张图：", "画面里有", "请画", "")) if not things[0][1] else ""
        ending = rng.choice(("。", "", "")) if rng.random() < 0.7 else "，" + rng.choice(FILLERS["zh"])
        return "，".join([*tags, opening + clause] if rng.random() < 0.5 else [opening + clause, *tags]) + ending
    if tags and not things[0][1]:
        first, rest = tags[0], tags[1:]
        joined = rng.choice((f"{first}的{clause}", f"{first}中的{clause}", f"{first}下的{clause}", f"{first}，{clause}"))
        return "，".join([joined, *rest]) + rng.choice(("", "。"))
    return "，".join([clause, *(rng.choice((tag, f"背景是{tag}", f"有{tag}")) for tag in tags)]) + rng.choice(("", "。"))


def _english(things: list[tuple[str, str]], parts: list[tuple[str, str]], rng: random.Random) -> str:
    objects = [f"{thing} {place}" if place else thing for thing, place in things]
    style = rng.random()
    if not things or style < 0.45:
        tags = [rng.choice(pair) for pair in parts] + _filler("en", rng)
        if len(objects) > 1 and rng.random() < 0.6:
            objects = [rng.choice((" and ", " with ", " next to ")).join(objects)]
        if rng.random() < 0.6:
            return ", ".join(objects + tags)
        at = rng.randrange(len(tags) + 1)
        return ", ".join(tags[:at] + objects + tags[at:])
    clause = rng.choice((" and ", " and ", ", ", " beside " if not things[0][1] else " and ")).join(objects)
    opening = rng.choice(("", "", "a picture of ", "an illustration of ", "there is ", "draw ", "a poster of "))
    text = opening + clause
    for _, end in parts:
        text += (" " if end.startswith(ENGLISH_LINKS) and rng.random() < 0.7 else ", ") + end
    return text + rng.choice(("", "", "."))


def _filler(language: str, rng: random.Random) -> list[str]:
    words = rng.sample(FILLERS[language], rng.choice((1, 1, 2))) if rng.random() < 0.25 else []
    # Anything may stand in a prompt: words that mean nothing here must not move the image.
    return [*words, _noise(rng)] if rng.random() < 0.06 else words


def _noise(rng: random.Random) -> str:
    first, last = rng.choice(((0x4E00, 0x9FA0), (0x61, 0x7A), (0x5D0, 0x5EA), (0x1F300, 0x1F640), (0xE0, 0xFF)))
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 6)))


def _dress(text: str, language: str, rng: random.Random) -> str:
    """Small differences of writing: case, traditional characters, a space or a line break at the end."""
    if language == "en":
        form = rng.random()
        text = text[:1].upper() + text[1:] if form < 0.25 else text.upper() if form < 0.28 else text
        text = text.title() if 0.28 <= form < 0.30 else text
    elif rng.random() < 0.05:
        text = text.translate(TRADITIONAL)
    return text + "\n" if rng.random() < 0.01 else text
