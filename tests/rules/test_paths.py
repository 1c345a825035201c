import pytest

from fastroute.rules.paths import is_inference


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(b"/v1/chat/completions", True, id="chat"),
        pytest.param(b"/v1/audio/transcriptions", True, id="below-a-folder"),
        pytest.param(b"/v1/completions/more", False, id="below-a-path"),
        pytest.param(b"/v1/load_lora_adapter", False, id="adapter"),
        pytest.param(b"/sleep", False, id="sleep"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_is_inference(path, expected):
    assert is_inference(path) is expected
