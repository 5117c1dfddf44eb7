"""
What images and sound add to a request: tokens of the prompt, and floating-point operations of the towers before it.

An image is scaled to whole patches between the processor's limits; a square of ``MERGE`` x ``MERGE`` patches becomes
one token. Sources: transformers 5.19 ``image_processing_qwen2_vl.smart_resize``, vLLM 0.32
``qwen2_vl._get_vision_info``; rates of sound are facts of the model.
"""

from __future__ import annotations

import math

from sizing.facts.model import Audio, Model, Vision
from sizing.request.request import Images, Load

MERGE = 2  # patches a side that one token stands for, in every Qwen tower
MARKS = 2  # tokens that open and close an image or a clip


def image_tokens(vision: Vision, width: int, height: int) -> int:
    """Prompt tokens of one image of *width* x *height* pixels, its two marks included."""
    return _patches(vision, width, height) // MERGE**2 + MARKS


def audio_tokens(audio: Audio, seconds: float) -> int:
    """Prompt tokens of one clip, its two marks included."""
    return math.ceil(seconds * audio.tokens_per_s) + MARKS


def prompt_tokens(model: Model, load: Load) -> int:
    """Tokens that the images and the sound of one request add to its text. The model has the towers for them."""
    tokens = 0
    if load.images and model.vision:
        tokens += load.images.count * image_tokens(model.vision, load.images.width, load.images.height)
    if load.audio_s and model.audio:
        tokens += audio_tokens(model.audio, load.audio_s)
    return tokens


def tower_flop(model: Model, load: Load) -> float:
    """Floating-point operations of the towers for one request: two per weight and position, four per attended pair."""
    flop = 0.0
    if load.images and model.vision:
        flop += load.images.count * _image_flop(model.vision, load.images)
    if load.audio_s and model.audio:
        flop += _audio_flop(model.audio, load.audio_s)
    return flop


def _patches(vision: Vision, width: int, height: int) -> int:
    """Patches of an image after scaling: sides in whole tokens, the area within the limits, the ratio kept."""
    side = vision.patch_size * MERGE
    wide, high = (round(pixels / side) * side for pixels in (width, height))
    if wide * high > vision.max_pixels:
        shrink = math.sqrt(width * height / vision.max_pixels)
        wide, high = (max(side, math.floor(pixels / shrink / side) * side) for pixels in (width, height))
    elif wide * high < vision.min_pixels:
        grow = math.sqrt(vision.min_pixels / (width * height))
        wide, high = (math.ceil(pixels * grow / side) * side for pixels in (width, height))
    return wide * high // vision.patch_size**2


def _image_flop(vision: Vision, images: Images) -> float:
    patches = _patches(vision, images.width, images.height)
    width, merged = vision.hidden_size, vision.hidden_size * MERGE**2
    block = 4 * width**2 + (3 if vision.gated_ffn else 2) * width * vision.intermediate_size
    merger = (1 + vision.deepstack_mergers) * (merged**2 + merged * vision.output_size)
    whole = vision.layers - vision.windowed_layers
    attended = whole * patches + vision.windowed_layers * min(vision.window_patches, patches)
    return 2 * patches * (vision.layers * block + merger / MERGE**2) + 4 * patches * attended * width


def _audio_flop(audio: Audio, seconds: float) -> float:
    positions = (audio.clip_s or seconds) * audio.positions_per_s
    return 2 * positions * audio.params + 4 * positions**2 * audio.layers * audio.hidden_size
