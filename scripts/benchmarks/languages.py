"""How well recipes and cleanings do on messages of other languages, which this script makes up.

    python scripts/benchmarks/languages.py

Made-up messages of ten Hindi, Chinese or Arabic words: four of the message's class, two of the
other and four common ones. They say which languages a cleaning sees, and nothing of how hard real
messages are.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import click
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from shared.cli import run
from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.metrics import metrics_from
from shared.model.recipe import Recipe, load_recipe
from worker_node.training.local_training import score, train

WORDS = {
    "Hindi": (
        "घर खाना शाम माँ स्कूल कल ठीक नींद बस दोस्त बारिश दवा चाय छुट्टी किताब",
        "बधाई इनाम जीता मुफ्त तुरंत कॉल ऑफर लॉटरी रुपये क्लिक पासवर्ड बैंक खाता ऋण कैश",
        "आप मैं है को और यह के लिए अभी आज",
        " ",
    ),
    "Chinese": (
        "回家 吃饭 晚上 妈妈 学校 明天 睡觉 公交 朋友 下雨 药店 喝茶 放假 看书 电影",
        "恭喜 中奖 领取 免费 立即 致电 优惠 彩票 现金 点击 密码 银行 账户 贷款 发票",
        "你 我 是 的 和 这 了 今天 现在 请",
        "",
    ),
    "Arabic": (
        "البيت عشاء مساء أمي مدرسة غدا نوم حافلة صديق مطر دواء شاي عطلة كتاب فيلم",
        "مبروك جائزة ربحت مجانا فورا اتصل عرض يانصيب نقدا اضغط كلمة بنك حساب قرض هدية",
        "أنت أنا هو في من هذا على الآن اليوم إلى",
        " ",
    ),
}
CONTENDERS = (
    ("tutorial", "letters"),
    ("default", "styled-words"),
    ("default", "unicode-words"),
)
"""Recipes, and the cleaning that each is tried with."""
ROWS, HELD_OUT, ROUNDS = 300, 200, 3


def made_up(language: str, rows: int, rng: random.Random) -> tuple[list[str], list[int]]:
    """Texts of ten words, and their labels, half of them 1."""
    ham, spam, common, space = WORDS[language]
    classes = [ham.split(), spam.split()]
    labels = [row % 2 for row in range(rows)]
    texts = []
    for label in labels:
        words = rng.choices(classes[label], k=4) + rng.choices(classes[1 - label], k=2)
        words += rng.choices(common.split(), k=4)
        rng.shuffle(words)
        texts.append(space.join(words))
    return texts, labels


def auc(language: str, name: str, cleaning: str, seed: int) -> float:
    """ROC AUC on held-out messages after some rounds of the recipe at one owner."""
    rng = random.Random(seed)  # noqa: S311 - reproducible by intent
    base = load_recipe(name).model_dump()
    recipe = Recipe.model_validate({**base, "text": {**base["text"], "cleaning": cleaning}})
    texts, labels = made_up(language, ROWS + HELD_OUT, rng)
    ids, truth = encode_all(texts, recipe.text), np.array(labels)
    state = initial_state(recipe, seed)
    for number in range(ROUNDS):
        state = train(state, ids[:ROWS], truth[:ROWS], recipe, seed=seed, round_index=number).state
    found = metrics_from(score(state, ids[ROWS:], truth[ROWS:], recipe)).roc_auc
    return float("nan") if found is None else found


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True)
def main(seeds: int) -> None:
    torch.set_num_threads(1)  # a small model gains nothing from more
    names = "  ".join(f"{name}, {cleaning}" for name, cleaning in CONTENDERS)
    click.echo(f"ROC AUC in %, mean over seeds: {names}")
    for language in WORDS:
        means = [
            np.mean([auc(language, name, cleaning, seed) for seed in range(1, seeds + 1)])
            for name, cleaning in CONTENDERS
        ]
        click.echo(f"{language:<32} " + "  ".join(f"{100 * one:.1f}" for one in means))


if __name__ == "__main__":
    run(main, "python scripts/benchmarks/languages.py")
