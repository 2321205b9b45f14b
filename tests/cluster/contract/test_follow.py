"""Which pods over time: live by labels, kept from the start, chosen by number or share."""

from __future__ import annotations

from typing import Any

import pytest
from lanes import LATE, arrives, eventually, late, manifest, reached

from pytest_k8s_netem.errors import ConfigError

pytestmark = [pytest.mark.needs("netns"), pytest.mark.usefixtures("by_engine")]


@pytest.fixture
def impair(netem: Any) -> Any:
    return lambda **who: netem.impair(delay=LATE, inert="ignore", unexercised="ignore", **who)


@pytest.fixture(scope="module")
def deployed(people: Any) -> Any:
    with people.apply(manifest("web", replicas=4)):
        people.wait_ready()
        yield


@pytest.fixture
def web(people: Any, deployed: None) -> Any:
    """Four pods of one Deployment, by name."""
    people.scale("web", 4)
    eventually(lambda: len(people.pods("app=web")) == 4)
    people.wait_ready("app=web")
    return lambda: {pod.name: pod for pod in people.pods("app=web") if pod.ready}


def replaced(people: Any, web: Any, name: str) -> Any:
    """Delete a pod, and wait for the one that its owner makes instead."""
    before = set(web())
    web()[name].delete(grace=0)
    eventually(lambda: set(web()) - before and name not in web())
    people.wait_ready("app=web")
    (newcomer,) = set(web()) - before
    return web()[newcomer]


def test_by_labels_the_set_is_live(impair, people, ann, bob):
    with impair(pods=["app=newcomer", "app=ann"]):
        assert late(ann, bob)
        with people.apply(manifest("newcomer")):
            pod = people.wait_ready("app=newcomer")[0]
            assert late(pod, bob), "it was impaired before its command started"


def test_a_peer_that_comes_later_is_met(impair, people, ann, bob):
    with impair(pods="app=ann", to=["app=newcomer", "app=bob"]), people.apply(manifest("newcomer")):
        pod = people.wait_ready("app=newcomer")[0]
        assert late(ann, pod)


def test_from_the_start_newcomers_are_left_alone(impair, people, ann, bob):
    with impair(pods=["app=newcomer", "app=ann"], follow="start"), people.apply(manifest("newcomer")):
        pod = people.wait_ready("app=newcomer")[0]
        assert not late(pod, bob)
        assert late(ann, bob)


def test_a_replacement_under_the_same_owner_is_one_of_the_start(impair, people, bob, web):
    with impair(pods="app=web", count=1, follow="start"):
        (chosen,) = (name for name, pod in web().items() if late(pod, bob))
        others = set(web()) - {chosen}
        newcomer = replaced(people, web, chosen)
        assert late(newcomer, bob)
        assert not any(late(pod, bob) for name, pod in web().items() if name in others)


def test_a_replacement_of_a_pod_that_was_not_chosen_is_left_alone(impair, people, bob, web):
    with impair(pods="app=web", count=1, follow="start"):
        spared = next(name for name, pod in web().items() if not late(pod, bob))
        assert not late(replaced(people, web, spared), bob)


@pytest.mark.parametrize(("count", "chosen"), [(1, 1), (3, 3), ("50%", 2), ("25%", 1), (9, 4)])
def test_count_chooses_as_many(impair, bob, web, count, chosen):
    with impair(pods="app=web", count=count):
        assert sum(late(pod, bob) for pod in web().values()) == chosen


def test_count_is_drawn_by_the_tests_seed(impair, bob, web):
    def chosen(seed: int) -> set[str]:
        with impair(pods="app=web", count=1, seed=seed):
            return {name for name, pod in web().items() if late(pod, bob)}

    first = chosen(1)
    assert chosen(1) == first
    assert any(chosen(seed) != first for seed in range(2, 8)), "six other seeds never chose differently"


@pytest.mark.parametrize("count", [0, -1, "0%", "101%", "half", 1.5])
def test_a_count_that_chooses_nothing_is_refused(impair, people, count):
    with pytest.raises(ConfigError, match="count="), impair(pods="app=ann", count=count):
        pass


def test_the_other_side_of_a_partition_is_live(netem, people, ann, bob):
    with netem.partition("app=ann", ["app=newcomer", "app=bob"]), people.apply(manifest("newcomer")):
        newcomer = people.wait_ready("app=newcomer")[0]
        assert not arrives(ann, newcomer)
        assert arrives(newcomer, bob)
    with netem.partition(["app=newcomer", "app=bob"], "app=ann"), people.apply(manifest("newcomer")):
        newcomer = people.wait_ready("app=newcomer")[0]
        assert arrives(newcomer, ann)
        assert not arrives(bob, ann)


def test_a_partition_keeps_the_pods_of_its_start_and_their_replacements(netem, people, bob, web):
    with netem.partition("app=web", "app=bob"):
        assert not any(reached(*((pod, bob) for pod in web().values())))
        assert not arrives(replaced(people, web, min(web())), bob)
        people.scale("web", 5)
        people.wait_ready()
        assert sum(reached(*((pod, bob) for pod in web().values()))) == 1, "a fifth pod is nobody's replacement"
