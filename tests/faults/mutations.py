"""Mistakes that somebody could make in the package, and the tests that must notice each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A textual change of one file of the package.

    :ivar name: the mistake. :ivar file: below ``pytest_k8s_netem/``. :ivar old: occurs there exactly once.
    :ivar tests: below ``tests/``; at least one of them must fail with the mistake, all pass without.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


FATE = "model/fate.py"
AGENT = "dataplane/test_agent.py::"
PROOF = "faults/test_proof.py::"
LOST = "faults/test_lost.py::"
ENDS = "faults/test_run_ends.py::"

KERNEL = "dataplane/test_kernel.py::"
FLOWER = "dataplane/test_flower.py::"
USERSPACE = "dataplane/test_userspace.py::"

MUTATIONS = (
    # What a packet meets
    Mutation(
        "a filter that matches nothing",
        "agent/dataplane/assembler.py",
        "ACCEPT, REJECT = 0xFFFFFFFF, 0",
        "ACCEPT, REJECT = 0, 0",
        (AGENT + "test_a_plan_delays_what_it_matches_and_heals",),
    ),
    Mutation(
        "a sink that passes everything unimpaired",
        "agent/dataplane/forwarding.py",
        "in fate.decide(arrival, length, fate.marks and ecn_capable(frame)):",
        "in ((arrival, False, False),):",
        (AGENT + "test_a_plan_delays_what_it_matches_and_heals",),
    ),
    Mutation(
        "a delay of 0",
        FATE,
        "due = arrival + self._delay\n",
        "due = arrival\n",
        ("unit/test_fate.py::TestDelay",),
    ),
    Mutation(
        "loss that is never drawn",
        FATE,
        "if self._lost.happens():",
        "if self._lost.happens() and False:",
        ("unit/test_fate.py::TestLoss",),
    ),
    Mutation(
        "a queue without a limit",
        FATE,
        "if self._under_way(arrival) >= self._limit:\n                self.dropped += 1",
        "if False:\n                self.dropped += 1",
        ("unit/test_fate.py::TestLimit",),
    ),
    # Healing
    Mutation(
        "packets that a worker takes along into the next plan",
        "agent/dataplane/worker.py",
        "drop(lambda entry: entry[2][0] in gone)",
        "drop(lambda entry: False)",
        (USERSPACE + "TestLife::test_the_next_plan_gets_the_same_worker_without_anything_of_the_last",),
    ),
    Mutation(
        "a healing that forgets one device",
        "agent/drain.py",
        "    def add(self, sink: Sink, patience: int = LONGEST) -> None:\n",
        "    def add(self, sink: Sink, patience: int = LONGEST) -> None:\n        return\n",
        (AGENT + "test_a_plan_delays_what_it_matches_and_heals",),
    ),
    Mutation(
        "filters that stay where a heal is asked for",
        "agent/targets.py",
        "            change.unhook(held.sides)\n",
        "",
        ("unit/test_keeper_frames.py::test_heal_takes_filters_off_at_once_and_answers_when_all_is_gone",),
    ),
    Mutation(
        "a heal that is skipped",
        "controller/targets.py",
        'observed = self._read(await self._session.request("heal", DRAIN_WITHIN, target=self.name))',
        "return self.released()",
        ("cluster/test_controller_agent.py::test_an_object_is_a_delay_and_its_end_is_none",),
    ),
    Mutation(
        "filters that an agent takes off though another one put them there",
        "agent/dataplane/names.py",
        "return int.from_bytes(os.urandom(4)) >> 1 | 1",
        "return 1",
        ("dataplane/test_netlink.py::test_filters_of_another_agent_stay_though_they_stand_in_the_same_place",),
    ),
    Mutation(
        "a lease that never ends",
        "agent/schedule.py",
        "        if ttl is not None:\n            self._lease",
        "        if False:\n            self._lease",
        ("unit/test_keeper_frames.py::test_a_plan_without_renewal_ends_with_its_ttl",),
    ),
    Mutation(
        "the end of the owner's stream that heals nothing",
        "agent/keeper.py",
        "if not (self.lingers and target.leased):",
        "if False:",
        ("unit/test_keeper_frames.py::test_the_end_of_the_owners_session",),
    ),
    Mutation(
        "a worker that dies unnoticed",
        "agent/workers.py",
        "        self._broken = broken\n",
        "        self._broken = lambda: None\n",
        (AGENT + "test_a_killed_worker_takes_the_filters_off",),
    ),
    # Proof
    Mutation(
        "a probe that counts itself as the test's traffic",
        "agent/proving.py",
        "        self._leave_out(asked, before, after, seen)\n",
        "",
        (PROOF + "test_a_test_that_met_nothing",),
    ),
    Mutation(
        "counters that never reset",
        "agent/observing.py",
        "        self._classes |= {name: seen for name, seen in classes.items() if name not in tested}\n",
        "",
        (AGENT + "test_a_check_sees_the_delay_and_never_counts",),
    ),
    Mutation(
        "a judge that accepts everything",
        "judge/verdict.py",
        "    return Verdict(not problems, proof, tuple(dict.fromkeys(problems)))",
        "    return Verdict(True, proof, ())",
        ("unit/test_judge_verdict.py",),
    ),
    Mutation(
        "filters that are held whatever the kernel says",
        "agent/dataplane/hooked.py",
        "before.held and seen.held,",
        "True,",
        (PROOF + "test_a_filter_that_somebody_removed",),
    ),
    Mutation(
        "an impairment that met nothing and is taken for exercised",
        "judge/effect.py",
        "        return Outcome.INERT",
        "        return Outcome.EXERCISED",
        (PROOF + "test_a_test_that_met_nothing",),
    ),
    Mutation(
        "a loss that nobody is told of",
        "cluster/findings.py",
        "    found = lost(record.name, record.gaps)\n",
        "    found = []\n",
        (LOST + "test_a_lost_agent_is_an_error_of_that_test_alone[userspace-killed]",),
    ),
    Mutation(
        "an error on top of a body that failed",
        "fixtures.py",
        'if errors and outcome == "passed":',
        "if errors:",
        (PROOF + "test_a_test_that_met_nothing",),
    ),
    Mutation(
        "a dead pod's packets forgotten",
        "controller/fleet.py",
        "        self._remember(target, target.profiles)\n",
        "",
        (PROOF + "test_a_pod_or_peer_that_ends_under_impairment_is_no_mistake[userspace-pod]",),
    ),
    # Ends
    Mutation(
        "SIGTERM that ends pytest without a teardown",
        "run/signals.py",
        "        signal.signal(signal.SIGTERM, self._handle)\n",
        "",
        (ENDS + "test_an_interrupted_run_tears_down[userspace-SIGTERM-body]",),
    ),
    Mutation(
        "a killed run's directory that stays",
        "run/reaper.py",
        "        shutil.rmtree(directory, ignore_errors=True)\n",
        "",
        (ENDS + "test_a_killed_run_leaves_nothing[userspace-body]",),
    ),
)

ON_THE_KERNEL_ENGINE = (
    Mutation(
        "a delay that netem is not told",
        "agent/dataplane/netem.py",
        'attribute(_LATENCY64, struct.pack("=q", impairment.delay))',
        'attribute(_LATENCY64, struct.pack("=q", 0))',
        (KERNEL + "test_delay",),
    ),
    Mutation(
        "a loss that netem is not told",
        "agent/dataplane/netem.py",
        "            _share(random.p),\n",
        "            0,\n",
        (KERNEL + "test_loss",),
    ),
    Mutation(
        "superpackets that are lost as one",
        "agent/dataplane/kernel.py",
        "segmented = _counts(root, stages, now)",
        "segmented = False",
        (KERNEL + "test_loss_acts_on_packets_not_on_superpackets",),
    ),
    Mutation(
        "packets of an inner profile that only the outer one meets",
        "agent/dataplane/tree.py",
        "band = bands[follows[0]] if follows else 1",
        "band = 1",
        (KERNEL + "test_three_deep_and_branched",),
    ),
    Mutation(
        "a qdisc that is believed to hold what it was told",
        "agent/dataplane/kernel.py",
        "held=netem.decode(qdisc.options, placed.sent),",
        "held=placed.sent,",
        (KERNEL + "test_a_foreign_change_is_seen",),
    ),
    Mutation(
        "a healing that forgets one device",
        "agent/dataplane/tree.py",
        "return Removal(self._netlink, self.index)",
        "return Removal(self._netlink, 0)",
        (KERNEL + "test_closing_leaves_nothing",),
    ),
    Mutation(
        "addresses that are looked for on the wrong side",
        "agent/dataplane/flower.py",
        "KEYS = {Direction.EGRESS: (12, 13), Direction.INGRESS: (10, 11)}",
        "KEYS = {Direction.EGRESS: (10, 11), Direction.INGRESS: (12, 13)}",
        (FLOWER + "test_tc_reads_each_network",),
    ),
    Mutation(
        "a set of filters that is held though one is gone",
        "agent/dataplane/hooked.py",
        "held = self._compared and (shared.filters, shared.target) == (len(self.networks), self.target)",
        "held = self._compared",
        (FLOWER + "test_one_filter_less_is_not_held",),
    ),
)
"""Mistakes that only a kernel with netem can show."""
