# The agent beside a pod's containers: Python's standard library and the files that run there, nothing else.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
COPY pytest_k8s_netem /opt/netem/pytest_k8s_netem
# The root file system is read-only later: compiled here, or each relay would compile anew.
RUN ["python3", "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/opt/netem"]
ENTRYPOINT ["python3", "-I", "-S", "/opt/netem/pytest_k8s_netem/agent/__main__.py"]
CMD ["keep", "--socket", "/dev/netem"]
