"""Tokens and work of images and sound, against what the processors give and what a tower weighs."""

from __future__ import annotations

import pytest

from sizing.facts.catalogue import load_facts
from sizing.request.modalities import audio_tokens, image_tokens, prompt_tokens, tower_flop
from sizing.request.request import Images, Load

MODELS = load_facts().models
MARKS = 2


@pytest.mark.parametrize(
    ("key", "size", "tokens"),
    [
        ("qwen3-vl-8b", (400, 300), 432 // 4),  # its processor gives pixel_values of [432, 1536]
        ("qwen3-vl-8b", (100, 100), 64),  # grown to 256 x 256 pixels
        ("qwen3-vl-8b", (4096, 4096), 16_384),  # as large as an image gets
        ("qwen3-vl-8b", (8192, 8192), 16_384),
        ("qwen2.5-vl-7b", (1920, 1080), 69 * 39),  # 1932 x 1092 pixels in squares of 28
        ("qwen2-vl-7b", (28, 28), 4),  # 3136 pixels at least
    ],
)
def test_an_image_is_as_many_tokens_as_its_processor_makes_of_it(key: str, size: tuple[int, int], tokens: int) -> None:
    vision = MODELS[key].vision
    assert vision is not None
    assert image_tokens(vision, *size) == tokens + MARKS


@pytest.mark.parametrize(
    ("key", "seconds", "tokens"),
    [
        ("qwen2-audio-7b", 30, 750),  # vLLM's maximum for it: ((3000 - 1) // 2 + 1 - 2) // 2 + 1
        ("qwen2.5-omni-7b", 10, 250),
        ("qwen3-omni-30b-a3b", 60, 780),  # 13 of every 100 frames, 100 frames a second
        ("qwen3-omni-30b-a3b", 0.5, 7),
    ],
)
def test_sound_is_as_many_tokens_as_its_processor_makes_of_it(key: str, seconds: float, tokens: int) -> None:
    audio = MODELS[key].audio
    assert audio is not None
    assert audio_tokens(audio, seconds) == tokens + MARKS


def load(**parts: object) -> Load:
    return Load(concurrency=1, input_tokens=10, output_tokens=10, **parts)  # type: ignore[arg-type]


def test_images_and_sound_of_a_request_add_up() -> None:
    model = MODELS["qwen3-omni-30b-a3b"]
    both = load(images=Images(count=3, width=400, height=300), audio_s=60)
    assert prompt_tokens(model, both) == 3 * (108 + MARKS) + 780 + MARKS
    assert prompt_tokens(model, load()) == tower_flop(model, load()) == 0


def test_a_tower_multiplies_each_of_its_weights_once_for_every_position_it_sees() -> None:
    # 432 patches: 27 blocks of 4 x 1152^2 + 2 x 1152 x 4304, four mergers of 4608^2 + 4608 x 4096 on a quarter of them;
    # and every patch attends all 432 in 27 layers.
    weights = 27 * 15_224_832 + 4 * 40_108_032 / 4
    expected = 2 * 432 * weights + 4 * 432 * 432 * 27 * 1152
    model = MODELS["qwen3-vl-8b"]
    assert tower_flop(model, load(images=Images(width=400, height=300))) == pytest.approx(expected)
    assert pytest.approx(model.params.tower, rel=0.02) == 27 * 15_224_832 + 4 * 40_108_032


def test_every_image_of_a_request_is_computed() -> None:
    model = MODELS["qwen3-vl-8b"]
    one, five = (tower_flop(model, load(images=Images(count=count, width=400, height=300))) for count in (1, 5))
    assert five == pytest.approx(5 * one)


def test_windowed_attention_computes_less_on_a_large_image() -> None:
    model = MODELS["qwen2.5-vl-7b"]
    assert model.vision is not None
    whole = model.model_copy(update={"vision": model.vision.model_copy(update={"windowed_layers": 0})})
    large = load(images=Images(width=3000, height=3000))
    assert tower_flop(model, large) < 0.7 * tower_flop(whole, large)


def test_a_short_clip_costs_a_cutting_tower_as_much_as_a_long_one() -> None:
    model = MODELS["qwen2-audio-7b"]
    assert tower_flop(model, load(audio_s=1)) == tower_flop(model, load(audio_s=30))
