"""What users hand over as a container, and the name under which they attach it; pure."""

from __future__ import annotations

import re

from pytest_k8s_netem.errors import ConfigError

FORMS = "a container of testcontainers or of Docker's Python client, both started, or a name or id that docker ps shows"
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
LONGEST = 63
"""Characters of a name, which is a label's value too."""


def reference(container: object) -> str:
    """The container's name or id; objects are known by what they offer, whatever package they are of.

    :raises ConfigError: if it is none, or has not been started.
    """
    said = _wrapped(container)
    for attribute in ("id", "ID"):  # docker.models.containers.Container; testcontainers.compose.ComposeContainer
        found = said if isinstance(said, str) else getattr(said, attribute, None)
        if isinstance(found, str) and found.strip():
            return found.strip()
    raise ConfigError(f"netem.attach({container!r}): this is no container; give {FORMS}")


def _wrapped(container: object) -> object:
    """What a DockerContainer of testcontainers wraps."""
    wrapped = getattr(container, "get_wrapped_container", None)
    if not callable(wrapped):
        return container
    try:
        found = wrapped()
    except Exception as error:
        raise ConfigError(f"{_not_started(container)} ({error})") from None
    if found is None:
        raise ConfigError(_not_started(container))
    return found


def _not_started(container: object) -> str:
    kind = type(container).__name__
    return f"netem.attach: this {kind} has not been started; attach it inside its with block, or after start()"


def checked_name(as_: str, own: str) -> str:
    """The name under which a container is attached: the given one, else its own.

    :raises ConfigError: if it cannot be written after ``container/``.
    """
    name = as_ or own
    if len(name) <= LONGEST and _NAME.fullmatch(name):
        return name
    rule = f"use lower case letters, digits, - and ., at most {LONGEST}"
    if as_:
        raise ConfigError(f'netem.attach(as_="{as_}"): not a name; {rule}')
    raise ConfigError(f'netem.attach: the container is called {own}; give it a name: as_="redis" ({rule})')
