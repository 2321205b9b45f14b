"""The two images go together; a command line that names one of them is wrong."""

from __future__ import annotations

import pytest

from pytest_k8s_netem.cli import main


@pytest.mark.parametrize("option", ["--image=one", "--agent-image=one"])
@pytest.mark.parametrize("command", ["install", "manifests"])
def test_one_image_alone_is_a_wrong_command_line(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, option])
    assert ended.value.code == 2
    assert "--image and --agent-image go together" in capsys.readouterr().err
