# The demo apps' images for those who have an engine, on top of control-plane.Dockerfile's base.
#   docker build -f images/control-plane.Dockerfile --target base -t linkerd-base .
#   docker build -f images/demo.Dockerfile --target web -t docker.l5d.io/buoyantio/emojivoto-web:v11 .
FROM linkerd-base AS base
COPY --chmod=755 demo/bin/emojivoto-vote-bot /usr/local/bin/emojivoto-vote-bot

FROM base AS http-echo
ENTRYPOINT ["python3", "-m", "linkerd._demo.http_echo"]
FROM base AS emoji-svc
ENTRYPOINT ["python3", "-m", "linkerd._demo.emojivoto", "emoji-svc"]
FROM base AS voting-svc
ENTRYPOINT ["python3", "-m", "linkerd._demo.emojivoto", "voting-svc"]
FROM base AS web
ENTRYPOINT ["python3", "-m", "linkerd._demo.emojivoto", "web"]
