"""One impairment from its object to its healing, with the evidence that it held; asynchronous, on the run's loop."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Awaitable, Callable

from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
from pytest_k8s_netem.cluster.record import Record
from pytest_k8s_netem.controller import waiting
from pytest_k8s_netem.controller.nothing import NOWHERE
from pytest_k8s_netem.errors import ApiError, ConfigError, NetemError, NotApplied, TeardownError
from pytest_k8s_netem.judge.effect import Effect, effects
from pytest_k8s_netem.profile.describe import describe
from pytest_k8s_netem.profile.parse import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_k8s_netem.api.protocol import Object
    from pytest_k8s_netem.cluster.provider import Provider
    from pytest_k8s_netem.controller.evidence import Ended, Evidence, Gap
    from pytest_k8s_netem.model.observed import CheckObserved, Observed
    from pytest_k8s_netem.model.plan import Check

Failing = Callable[[BaseException], Awaitable[None]]
VERIFY_WITHIN = 30.0
"""Seconds for an impairment to be verified; its probe budget is far below, but a loaded machine is no error."""
SETTLE_WITHIN = 5.0
"""Seconds to prove anew what a neighbour's coming or going has disturbed."""
NO_POD = (
    ": make pods with netem_cluster.apply(...), or attach containers with netem.attach(...), in a fixture of the test"
)
NOT_YET = (
    'it is set up after all fixtures of the test and healed before them, or when its block begins; when="first" sets '
    "it up before the fixtures"
)
DELETED = "somebody else deleted its TrafficProfile"
CHANGED = "somebody else changed its TrafficProfile, so the test met something else for a while"
OVER = f"it has been healed; {NOT_YET}"
LOOK_AGAIN = 0.02
"""Seconds between two looks at a proof that is being renewed."""
HEAL_WITHIN = 15.0
"""Seconds for a healing: queues drain for at most one, the rest is room for an overloaded machine."""


class Imposition:
    """One TrafficProfile in force, or not yet, or no more.

    :param failing: awaited when it cannot begin, before it is taken back.
    :ivar name: as the user calls it. :ivar object: the TrafficProfile to be; its metadata.name is unique in the run.
    """

    def __init__(self, provider: Provider, name: str, obj: Object, failing: Failing) -> None:
        self._provider, self._failing = provider, failing
        self.name = name
        self.object = obj
        self.applied = False
        self._idle = NOT_YET
        self._changing = asyncio.Lock()  # it begins or is healed
        self._beginning: asyncio.Task[None] | None = None
        self._generation = 0
        self.record = Record(name, describe(parse(obj)))

    @property
    def key(self) -> str:
        """The object's name."""
        return str(self.object["metadata"]["name"])

    async def begin(self) -> None:
        """Create the object and wait until it is verified; whoever cancels that has it healed again.

        :raises ConfigError: if nothing is selected. :raises ImpairmentError: if it cannot be done; it is healed again.
        """
        async with self._changing:
            creating = asyncio.ensure_future(self._provider.api.create(TRAFFICPROFILES, copy.deepcopy(self.object)))
            self._beginning = asyncio.current_task()
            try:
                made = await asyncio.shield(creating)  # a request that was sent makes it, whoever waits for the answer
                self._generation = made["metadata"]["generation"]
                await self._verified()
                await self._note(probes=True)
            except BaseException as error:
                self._beginning = None
                try:
                    await asyncio.shield(self._take_back(error, creating))
                except TeardownError as left:
                    if isinstance(error, NetemError):  # why it could not begin comes before what is left of it
                        left.args = (f"{error}\n{left}",)
                    raise
                raise
            self.applied, self._beginning = True, None

    async def _take_back(self, error: BaseException, creating: asyncio.Future[Object]) -> None:
        await asyncio.wait([creating])
        if creating.cancelled() or creating.exception() is not None:
            return  # it was refused
        await self._failing(error)
        await self._remove()

    async def change(self, obj: Object) -> None:
        """Put another spec in place, without a gap, and wait until that is verified; a refused one is taken back.

        :raises NotApplied: before :meth:`begin` or after :meth:`end`.
        """
        self.demand()
        generation, met = self._generation, self.record.effect
        await self._note()
        phrase = describe(parse(obj))
        try:
            await self._put(self.object["spec"], obj["spec"])
        except NetemError:
            with contextlib.suppress(NetemError):  # the first error is told; what is not held stands in the evidence
                await self._put(obj["spec"], self.object["spec"])
            if self._generation == generation:  # nobody heard of a change, so all is still counted in one sum
                self.record.effect = met
            raise
        self.object = {**self.object, "spec": copy.deepcopy(obj["spec"])}
        self.record.phrase = phrase
        await self._note(probes=True)

    async def _put(self, old: Object, new: Object) -> None:
        """Turn the stored object's spec from one into another, and wait until that is verified."""
        patch = {"spec": _merge_patch(old, new)}
        done = await self._provider.api.patch(TRAFFICPROFILES, self.key, patch)
        self._generation = done["metadata"]["generation"]
        await self._verified()

    async def _verified(self) -> None:
        """Wait until it is; an error tells the name that the user knows."""
        try:
            await waiting.verified(self._provider.api, self.key, self._generation, VERIFY_WITHIN, whole=True)
        except NetemError as error:
            fix = NO_POD if NOWHERE in str(error) else ""
            error.args = (f"impairment {self.name!r}: {error}{fix}",)  # not a new one: each kind is made otherwise
            raise

    async def pause(self) -> None:
        """Heal, keeping what was met so far; :meth:`begin` goes on."""
        self.demand()
        await self._note(last=True)
        await self._remove()
        self.applied, self._idle = False, "it is paused"

    async def end(self) -> Record:
        """Read back once more, heal, and say what happened; also when it never began."""
        try:
            await self.conclude()
        finally:
            await self.heal()
        return self.record

    async def conclude(self) -> None:
        """Read back once more, for the record."""
        if self.applied:
            await self._note(last=True)

    async def heal(self) -> None:
        """End it, and wait until every pod is healed."""
        async with self._changing:
            if self.applied:
                self.applied, self._idle = False, OVER
                try:
                    await self._remove()
                except asyncio.CancelledError:
                    self.applied = True  # it may not have been deleted yet
                    raise

    async def abandon(self) -> None:
        """Heal it, whatever became of those who began it or were to end it; wait for who is about that already."""
        if self._beginning is not None:
            self._beginning.cancel()
        await self.heal()

    async def observed(self) -> dict[str, Observed]:
        """Each impaired pod, read back now."""
        self.demand()
        evidence = await self._provider.witness.evidence(self.key)
        return {pod: part.observed for pod, part in evidence.pods.items()}

    async def gaps(self) -> tuple[Gap, ...]:
        """Where it was lost so far, read back now."""
        return (await self._provider.witness.evidence(self.key)).gaps

    async def measure(self, checks: Mapping[str, Sequence[Check]]) -> dict[str, tuple[CheckObserved, ...]]:
        """Run probes in pods: per pod the checks' results, in order."""
        self.demand()
        return await self._provider.witness.measure(checks)

    def demand(self) -> None:
        """Refuse to go on while it is not in force.

        :raises NotApplied: saying why.
        """
        if not self.applied:
            raise NotApplied(f"the impairment {self.name!r} is not in force here: {self._idle}")

    async def _note(self, *, probes: bool = False, last: bool = False) -> None:
        record = self.record
        if overtaken := await self._overtaken() if last else "":
            record.problems.append(overtaken)
            record.blind = True  # what it met as it was said is not known
        try:
            evidence = await self._evidence(settled=last)
        except NotApplied:
            if not overtaken:
                raise
            return
        record.pods |= set(evidence.pods)
        record.spared |= dict.fromkeys(evidence.spared)
        record.notes |= dict.fromkeys(
            [*evidence.notes, *(f"pod/{pod}: {why}" for pod, why in evidence.excluded.items())]
        )
        for pod, part in evidence.pods.items():
            record.engines.add(part.plan.engine)
            if probes:
                self._note_probes(pod, part.plan.checks, part.observed)
            else:
                record.effect += part.earlier + effects(part.plan, part.observed).get(self.key, Effect())
            verdict = part.verdicts.get(self.key)
            if verdict is not None:
                record.proof.add(verdict.proof)
                if last and not verdict.verified:
                    record.problems += [f"pod/{pod}: {problem}" for problem in verdict.problems]
        if not probes:
            record.blind |= evidence.partial
            self._note_ended(evidence.ended)
        if last:
            record.gaps += evidence.gaps

    async def _overtaken(self) -> str:
        """What somebody else did to the stored object; "" = nothing that is known."""
        try:
            async with asyncio.timeout(SETTLE_WITHIN):
                meta = (await self._provider.api.get(TRAFFICPROFILES, self.key))["metadata"]
        except (ApiError, TimeoutError) as error:
            return DELETED if isinstance(error, ApiError) and error.status == 404 else ""
        if "deletionTimestamp" in meta:
            return DELETED
        return "" if meta["generation"] == self._generation else CHANGED

    def _note_ended(self, ended: Sequence[Ended]) -> None:
        for one in ended:
            self.record.pods.add(one.pod)
            self.record.blind |= not one.known
            self.record.effect += one.effect

    async def _evidence(self, *, settled: bool) -> Evidence:
        """What the controller knows; ``settled``: when it has proven again what another profile disturbed."""
        evidence = await self._provider.witness.evidence(self.key)
        if settled:
            with contextlib.suppress(NetemError, TimeoutError):  # what is still wrong then stands in the evidence
                async with asyncio.timeout(SETTLE_WITHIN):
                    while not self._proven(evidence):
                        await waiting.verified(self._provider.api, self.key, self._generation, SETTLE_WITHIN)
                        await asyncio.sleep(LOOK_AGAIN)  # the status may not have heard yet
                        evidence = await self._provider.witness.evidence(self.key)
        return evidence

    def _proven(self, evidence: Evidence) -> bool:
        verdicts = (part.verdicts.get(self.key) for part in evidence.pods.values())
        return all(verdict is None or verdict.verified for verdict in verdicts)

    def _note_probes(self, pod: str, checks: Sequence[Check], observed: Observed) -> None:
        mine = {check.id: check for check in checks if check.profile == self.key}
        self.record.probes = [entry for entry in self.record.probes if entry[0] != pod]
        self.record.probes += [(pod, mine[seen.id], seen) for seen in observed.checks if seen.id in mine]

    async def _remove(self) -> None:
        try:
            await self._provider.api.delete(TRAFFICPROFILES, self.key)
        except ApiError as error:
            if error.status != 404:
                raise
        await waiting.gone(self._provider.api, self.key, HEAL_WITHIN)


async def begin_all(impositions: Sequence[Imposition]) -> None:
    """Begin all together; if one fails the others are healed again, and the first error is raised.

    :raises ConfigError: with all problems, if several cannot be meant.
    """
    try:
        results = await asyncio.gather(*(imposition.begin() for imposition in impositions), return_exceptions=True)
    except asyncio.CancelledError:  # those that had not begun have taken themselves back
        await asyncio.shield(abandon_all(impositions))
        raise
    errors = [result for result in results if isinstance(result, BaseException)]
    if not errors:
        return
    await asyncio.gather(*(imposition.end() for imposition in impositions), return_exceptions=True)
    if len(errors) > 1 and all(isinstance(error, ConfigError) for error in errors):
        raise ConfigError("\n".join(str(error) for error in errors)) from errors[0]
    raise errors[0]


async def abandon_all(impositions: Sequence[Imposition]) -> None:
    """Heal what is in force or about to be, all together; nobody judges what it did.

    :raises TeardownError: if one cannot be healed.
    """
    results = await asyncio.gather(*(imposition.abandon() for imposition in impositions), return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:
        raise errors[0]


async def end_all(impositions: Sequence[Imposition], concluded: Callable[[], Awaitable[None]]) -> list[Record]:
    """End all together: read all back before the first is healed, so that no healing disturbs another's evidence.

    :param concluded: awaited between the two.
    """
    try:
        await asyncio.gather(*(imposition.conclude() for imposition in impositions))
        await concluded()
    finally:
        await asyncio.gather(*(imposition.heal() for imposition in impositions))
    return [imposition.record for imposition in impositions]


def _merge_patch(old: Object, new: Object) -> Object:
    """The RFC 7386 patch that turns ``old`` into ``new``: what is gone becomes null."""
    patch: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        was = old.get(key)
        if isinstance(was, dict) and isinstance(value, dict):
            patch[key] = _merge_patch(was, value)
        elif was != value:
            patch[key] = copy.deepcopy(value)
    return patch
