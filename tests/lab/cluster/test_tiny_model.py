import json
from collections.abc import Mapping
from pathlib import Path

import jinja2
import pytest

from lab.cluster.errors import LocalError
from lab.cluster.tiny_model import CHAT_TEMPLATE, random_model

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
ASKED = {"role": "user", "content": "Weather?"}


def render(*messages: Mapping[str, object], **settings: object) -> str:
    # As transformers sets its environment up.
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(CHAT_TEMPLATE).render(messages=messages, add_generation_prompt=True, **settings)


def test_a_turn_is_wrapped_as_qwen_does() -> None:
    assert render(ASKED) == "<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\n"


def test_thinking_switched_off_is_an_empty_thought() -> None:
    assert render(ASKED, enable_thinking=False).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_tools_and_the_system_prompt_share_the_first_turn() -> None:
    text = render({"role": "system", "content": "Be brief."}, ASKED, tools=[TOOL])
    first, _, rest = text.partition("<|im_end|>\n")
    assert first.startswith("<|im_start|>system\nBe brief.")
    assert json.loads(first.split("<tools>\n")[1].split("\n</tools>")[0]) == TOOL
    assert rest.startswith("<|im_start|>user\n")


def test_a_call_and_its_answer_are_marked() -> None:
    call = {"function": {"name": "get_weather", "arguments": {}}}
    text = render(
        ASKED,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "sunny"},
    )
    spoken = text.split("<|im_start|>assistant\n\n<tool_call>\n")[1].split("\n</tool_call><|im_end|>\n")[0]
    assert json.loads(spoken) == call["function"]
    assert "<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n" in text


def test_only_the_architecture_that_it_can_make_is_made(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "qwen3_moe"}')
    with pytest.raises(LocalError, match="describes a qwen3_moe"):
        random_model(tmp_path, config)
