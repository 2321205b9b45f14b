"""What a test's impairment comes from: markers and levels, ``netem_spec`` overridden or parametrised, None, blocks."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.needs("netns"), pytest.mark.usefixtures("engine")]


def test_levels_names_and_switching_off(suite):
    result = suite(
        """
        PAIR = {"pods": "app=ann", "to": "app=bob"}
        pytestmark = [pytest.mark.netem(delay=LATE, **PAIR)]

        def test_module(ann, bob):
            assert late(ann, bob)

        @pytest.mark.netem(delay="1ms", **PAIR)
        class TestCloser:
            def test_replaces(self, ann, bob):
                assert not late(ann, bob)

            @pytest.mark.netem(delay=LATE, name="other", pods="app=bob", to="app=ann")
            def test_other_names_add(self, ann, bob, netem_profiles):
                assert list(netem_profiles) == ["netem", "other"]
                assert not late(ann, bob)
                assert late(bob, ann)

            @pytest.mark.netem(None)
            def test_off(self, ann, bob, netem_profile):
                assert netem_profile is None
                assert not late(ann, bob)

        @pytest.mark.parametrize("slow", [
            pytest.param(True, marks=pytest.mark.netem(delay=LATE, **PAIR)),
            pytest.param(False, marks=pytest.mark.netem(None)),
        ])
        def test_parameter(slow, ann, bob):
            assert late(ann, bob) is slow
        """
    )
    result.assert_outcomes(passed=6)


def test_the_spec_is_made_to_be_overridden(suite):
    result = suite(
        """
        PAIR = {"pods": "app=ann", "to": "app=bob"}

        @pytest.fixture
        def netem_spec():
            return {"delay": LATE, **PAIR}

        def test_module(netem_profile, ann, bob):
            assert late(ann, bob)

        def test_who_does_not_ask_is_not_impaired(ann, bob):
            assert not late(ann, bob)

        class TestClass:
            @pytest.fixture
            def netem_spec(self, netem_spec):
                return {**netem_spec, "to": "app=cid"}

            def test_class(self, netem_profile, ann, bob, cid):
                assert late(ann, cid)
                assert not late(ann, bob)

        class TestControl:
            @pytest.fixture
            def netem_spec(self):
                return None

            def test_healthy(self, netem_profile, ann, bob):
                assert netem_profile is None
                assert not late(ann, bob)

        class TestObject:
            @pytest.fixture
            def netem_spec(self):
                return {
                    "apiVersion": "k8s-netem.riasc.eu/v1", "kind": "TrafficProfile", "metadata": {"name": "mine"},
                    "spec": {"podSelector": {"matchLabels": {"app": "ann"}}, "egress": [{}], "type": "Builtin",
                             "parameters": {"netem": {"delay": 0.2}}},
                }

            def test_object(self, netem_profile, ann, bob):
                assert late(ann, bob)

        class TestNonsense:
            @pytest.fixture
            def netem_spec(self):
                return 42

            def test_nonsense(self, netem_profile):
                raise AssertionError("must not run")
        """
    )
    result.assert_outcomes(passed=5, errors=1)
    result.stdout.fnmatch_lines(["netem_spec is int; it may be a mapping*"])


def test_indirect_parameters(suite):
    result = suite(
        """
        SLOW, QUICK = ({"delay": delay, "pods": "app=ann", "to": "app=bob"} for delay in (LATE, "1ms"))

        @pytest.mark.parametrize("netem_profile", [SLOW, QUICK, None], indirect=True)
        def test_profile(netem_profile, ann, bob, request):
            assert late(ann, bob) is ("profile0" in request.node.name)
            assert (netem_profile is None) is ("None" in request.node.name)

        @pytest.mark.parametrize("netem_spec", [SLOW, QUICK, None], indirect=True)
        def test_spec(netem_spec, netem_profile, ann, bob):
            assert late(ann, bob) is (netem_spec is not None and netem_spec["delay"] == LATE)
        """
    )
    result.assert_outcomes(passed=6)


def test_set_up_last_and_healed_first_unless_first_is_asked(suite):
    result = suite(
        """
        from pytest_k8s_netem.errors import NotApplied

        PAIR = {"pods": "app=ann", "to": "app=bob"}
        SEEN = []

        @pytest.fixture
        def early(ann, bob, netem_profile):
            if not netem_profile.applied:
                with pytest.raises(NotApplied, match='when="first"'):
                    netem_profile.observed()
            before = late(ann, bob)
            yield before
            SEEN.append((before, late(ann, bob)))

        @pytest.mark.netem(delay=LATE, **PAIR)
        def test_last(early, ann, bob):
            assert not early
            assert late(ann, bob)

        @pytest.mark.netem(delay=LATE, when="first", **PAIR)
        def test_first(people, early, ann, bob):
            assert early
            assert late(ann, bob)

        def test_what_the_fixture_saw():
            assert SEEN == [(False, False), (True, True)]
        """
    )
    result.assert_outcomes(passed=3)


def test_a_handle_that_is_asked_for_too_late_is_an_error(suite):
    """Nothing would be impaired, and a test that asks the handle nothing would pass."""
    result = suite(
        """
        class TestLate:
            @pytest.fixture
            def netem_spec(self, request):
                return {"delay": LATE} if "healthy" not in request.node.name else None

            @pytest.fixture
            def handle(self, request):
                return request.getfixturevalue("netem_profile")

            def test_by_name(self, people, request):
                request.getfixturevalue("netem_profile")

            def test_by_a_fixture(self, people, handle): ...

            def test_healthy(self, people, handle):
                assert handle is None

            @pytest.mark.usefixtures("netem_profile")
            def test_in_time(self, ann, bob):
                assert late(ann, bob)
        """
    )
    result.assert_outcomes(passed=2, failed=1, errors=1)
    result.stdout.fnmatch_lines(["netem_profile was asked for while the test was being set up or ran*"] * 2)


def test_a_runs_seed_repeats_its_random_choices(suite):
    source = """
    @pytest.mark.netem(delay="1ms", count=1, inert="ignore")
    @pytest.mark.parametrize("number", range(6))
    def test_chosen(people, netem_profile, number):
        print("CHOSEN", *netem_profile.record.pods)
    """

    def chosen(seed: int) -> list[str]:
        result = suite(source, "-s", f"--netem-seed={seed}")
        result.assert_outcomes(passed=6)
        return [line.partition("CHOSEN ")[2] for line in result.outlines if "CHOSEN" in line]

    first = chosen(5)
    assert chosen(5) == first
    assert chosen(6) != first


def test_two_profiles_need_the_plural(suite):
    result = suite(
        """
        @pytest.mark.netem(delay="1ms", name="up", pods="app=ann")
        @pytest.mark.netem(delay="1ms", name="down", pods="app=bob")
        def test_which(netem_profile):
            raise AssertionError("must not run")
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["this test has 2 impairments ('up', 'down'): take the fixture netem_profiles*"])


def test_async_blocks(suite):
    result = suite(
        """
        import asyncio

        def test_async(netem, ann, bob):
            async def body():
                async with netem.impair(delay=LATE, pods="app=ann", to="app=bob") as profile:
                    assert profile.applied
                    return await asyncio.to_thread(late, ann, bob)

            assert asyncio.run(body())
            assert not late(ann, bob)

            async def cut():
                async with netem.partition("app=ann", "app=bob"):
                    return await asyncio.to_thread(arrives, ann, bob)

            assert not asyncio.run(cut())
        """
    )
    result.assert_outcomes(passed=1)
