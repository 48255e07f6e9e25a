# The control plane's image for those who have an engine; `make images` builds the like without one.
# From the repository's root, for one of controller, policy-controller, metrics-api, web, tap:
#   make build && docker build -f images/control-plane.Dockerfile --target controller -t cr.l5d.io/linkerd/controller:v0.1.0 .
FROM python:3.11-slim-bookworm AS packages
COPY requirements.txt /
RUN pip install --no-cache-dir --require-hashes --target /packages -r /requirements.txt

FROM python:3.11-slim-bookworm AS base
COPY --from=packages /packages /usr/local/lib/python3.11/site-packages
COPY linkerd /usr/local/lib/python3.11/site-packages/linkerd
# Links in the source tree, folders in the package.
RUN rm /usr/local/lib/python3.11/site-packages/linkerd/_charts /usr/local/lib/python3.11/site-packages/linkerd/_demo
COPY charts /usr/local/lib/python3.11/site-packages/linkerd/_charts
COPY demo /usr/local/lib/python3.11/site-packages/linkerd/_demo
# Pods have nowhere to write byte code.
RUN python -m compileall -q --invalidation-mode unchecked-hash /usr/local/lib/python3.11
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2
USER 2103

FROM base AS policy-controller
ENTRYPOINT ["python3", "-m", "linkerd.daemons", "policy"]
FROM base AS metrics-api
ENTRYPOINT ["python3", "-m", "linkerd.daemons", "metrics-api"]
FROM base AS web
ENTRYPOINT ["python3", "-m", "linkerd.daemons", "web"]
FROM base AS tap
ENTRYPOINT ["python3", "-m", "linkerd.daemons", "tap"]
FROM base AS controller
ENTRYPOINT ["python3", "-m", "linkerd.daemons"]
