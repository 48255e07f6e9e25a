# The data plane's images for those who have an engine; `make images` builds the like without one.
#   docker build -f images/proxy.Dockerfile --target proxy -t cr.l5d.io/linkerd/proxy:v0.1.0 .
#   docker build -f images/proxy.Dockerfile --target cni-plugin -t cr.l5d.io/linkerd/cni-plugin:v0.1.0 .
#   docker build -f images/proxy.Dockerfile --target proxy-init -t cr.l5d.io/linkerd/proxy-init:v0.1.0 .
FROM rust:1.90-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake libcap2-bin
COPY . /source
WORKDIR /source
RUN cargo rustc --locked --release --package linkerd-proxy --bin linkerd-proxy -- -C target-feature=+crt-static \
  && cp target/release/linkerd-proxy /linkerd-proxy
# Permitted only: the init container's process, which is not root, raises them itself.
RUN mkdir /names && ln -s linkerd-proxy /names/linkerd-await && ln -s linkerd-proxy /names/linkerd2-network-validator
RUN cp /linkerd-proxy /linkerd-proxy-init && setcap cap_net_admin,cap_net_raw+p /linkerd-proxy-init

FROM gcr.io/distroless/cc-debian12 AS base
COPY --from=build /bin/sleep /bin/sleep
COPY --from=build /names/ /usr/lib/linkerd/

FROM base AS proxy-init
COPY --from=build /linkerd-proxy-init /usr/lib/linkerd/linkerd-proxy
USER 65534
ENTRYPOINT ["/usr/lib/linkerd/linkerd-proxy", "init"]

FROM base AS cni-plugin
COPY --from=build /linkerd-proxy /usr/lib/linkerd/linkerd-proxy
ENTRYPOINT ["/usr/lib/linkerd/linkerd-proxy", "cni"]

FROM base AS proxy
COPY --from=build /linkerd-proxy /usr/lib/linkerd/linkerd-proxy
USER 2102
ENTRYPOINT ["/usr/lib/linkerd/linkerd-proxy"]
