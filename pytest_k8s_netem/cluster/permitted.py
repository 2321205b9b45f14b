"""A cluster whose controller serves many: what this run asks of it stays within the namespaces it may impair."""

from __future__ import annotations

from pytest_k8s_netem.api.passing import PassingApi
from pytest_k8s_netem.api.protocol import TRAFFICPROFILES
from pytest_k8s_netem.errors import ConfigError
from pytest_k8s_netem.profile.parse import parse
from pytest_k8s_netem.profile.rules import NAMESPACE_LABEL
from pytest_k8s_netem.profile.trafficprofile import Operator
from pytest_k8s_netem.resolve.select import not_allowed_text
from pytest_k8s_netem.resolve.view import ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_k8s_netem.api.protocol import Api, Kind, Object
    from pytest_k8s_netem.profile.trafficprofile import Selection
    from pytest_k8s_netem.resolve.view import View


class PermittedProfiles(PassingApi):
    """Implements :class:`pytest_k8s_netem.api.protocol.Api`.

    :param view: what this run may impair, now.
    """

    def __init__(self, api: Api, view: Callable[[], View]) -> None:
        super().__init__(api)
        self._view = view

    async def create(self, kind: Kind, obj: Object, namespace: str | None = None, *, dry_run: bool = False) -> Object:
        """See :meth:`Api.create`.

        :raises ConfigError: for a profile that reaches further than this run may.
        """
        if kind == TRAFFICPROFILES:
            self._permit(obj)
        return await super().create(kind, obj, namespace, dry_run=dry_run)

    async def patch(
        self, kind: Kind, name: str, patch: Object, namespace: str | None = None, subresource: str = ""
    ) -> Object:
        """See :meth:`Api.patch`; the namespaces of a profile are part of each change of its spec.

        :raises ConfigError: as :meth:`create`.
        """
        if kind == TRAFFICPROFILES and not subresource and "spec" in patch:
            before = await self.get(kind, name)
            self._permit({**before, "spec": {**before["spec"], **patch["spec"]}})
        return await super().patch(kind, name, patch, namespace, subresource)

    def _permit(self, obj: Object) -> None:
        view = self._view()
        names = _namespaces(parse(obj).pods)
        if names is None and not view.allows(ANY):
            raise ConfigError(
                "the pods of all namespaces may not be impaired, since this run did not make them; name namespaces, "
                "or allow all with --netem-allow-namespaces='*'"
            )
        if barred := sorted(name for name in names or () if not view.allows(name)):
            raise ConfigError("\n".join(not_allowed_text(name) for name in barred))


def _namespaces(selection: Selection) -> set[str] | None:
    """The namespaces that a selection names; None = it may look anywhere."""
    if selection.names:
        return set(selection.names)
    for one in selection.namespaces.requirements if selection.namespaces is not None else ():
        if one.key == NAMESPACE_LABEL and one.operator is Operator.IN:
            return set(one.values)
    return None
