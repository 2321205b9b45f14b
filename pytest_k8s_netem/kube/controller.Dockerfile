# The controller: rooms of the package up to kube, and the packages that they import; see kube/image.py.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
# The root file system is read-only later, and belongs to root: compiled here, or each start would compile anew.
COPY dependencies /opt/netem/dependencies
RUN ["python3", "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/opt/netem/dependencies"]
COPY pytest_k8s_netem /opt/netem/pytest_k8s_netem
RUN ["python3", "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/opt/netem/pytest_k8s_netem"]
ENV PYTHONPATH=/opt/netem:/opt/netem/dependencies PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["python3", "-s", "-m", "pytest_k8s_netem.kube.program"]
