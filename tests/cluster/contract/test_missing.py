"""What the machine lacks: an error with the fix, or a skip for those who ask for one."""

from __future__ import annotations

import shutil
import sys

import pytest

pytestmark = pytest.mark.needs("netns")

KERNEL = """
@pytest.mark.netem(delay="1ms", pods="app=ann", inert="ignore")
def test_marker(people):
    raise AssertionError("must not run")
"""
BLOCK = """
def test_block(people, netem):
    with netem.impair(delay="1ms", pods="app=ann", engine="kernel"):
        raise AssertionError("must not run")
"""
USES = """
def test_uses(netem_cluster):
    raise AssertionError("must not run")

def test_does_not():
    pass
"""


@pytest.fixture
def without_netem() -> None:
    from pytest_k8s_netem.agent.capabilities import probe

    engine = probe().engine("kernel")
    if engine is not None and engine.available:
        pytest.skip("this kernel has netem: nothing is missing")


@pytest.mark.usefixtures("without_netem")
def test_an_engine_that_the_kernel_lacks_names_the_ways_out(suite):
    result = suite(KERNEL, "--netem-engine=kernel")
    result.assert_outcomes(errors=1)
    told = "*engine=kernel: not available*sch_netem is missing*modprobe*--netem-engine=userspace*--netem-guest*"
    result.stdout.fnmatch_lines([told])
    assert "Traceback" not in result.stdout.str()


@pytest.mark.usefixtures("without_netem")
def test_it_is_a_skip_for_those_who_ask(suite):
    suite(KERNEL + BLOCK, "--netem-missing=skip", "--netem-engine=kernel").assert_outcomes(skipped=2)
    suite(BLOCK).assert_outcomes(failed=1)


def refused(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run without privileges where no user namespace can be made (namespaces(7))."""
    pytester.makepyfile(USES)
    limited = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    return pytester.run(
        *("unshare", "-Ur", "sh", "-c", limited, "sh"),
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options),
    )


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv: apt install util-linux")
def test_a_machine_that_refuses_namespaces_is_told_the_ways_out(pytester):
    result = refused(pytester)
    result.assert_outcomes(passed=1, errors=1)
    text = result.stdout.str()
    assert "Traceback" not in text
    for words in ("sysctl -w user.max_user_namespaces=", "sudo -E", "--netem-guest"):
        assert words in text


@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv: apt install util-linux")
def test_that_is_a_skip_for_those_who_ask(pytester):
    refused(pytester, "--netem-missing=skip").assert_outcomes(passed=1, skipped=1)
