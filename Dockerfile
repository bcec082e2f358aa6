# One image for the worker, the client and the gateway. Weights are not in it: mount them at /app/weights.
#   docker build -t mlaas .
#   docker run -v ./weights:/app/weights:ro -e KAFKA_BOOTSTRAP_SERVERS=host:9092 mlaas

FROM rust:1.95-bookworm AS libtorch
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY xtask xtask
# xtask alone, so that a change elsewhere does not fetch libtorch again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    sed -i -e 's/^members = .*/members = ["xtask"]/' -e '/^default-members = /d' Cargo.toml \
 && cargo xtask setup --for demo --only system,libtorch,openvino \
 && rm -rf target

FROM libtorch AS build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release --package broker-worker --package client --package gateway --bins \
 && mkdir -p /out/bin /out/lib \
 && cp target/release/worker target/release/client target/release/gateway xtask/container/healthcheck /out/bin/ \
 && cp .deps/libtorch/lib/* .deps/openvino/lib/* /out/lib/ \
 && cp -r .deps/libtorch/licenses .deps/openvino/licenses LICENSE-MIT LICENSE-APACHE /out/

FROM debian:bookworm-slim
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends ca-certificates libssl3 libstdc++6 \
 && rm -rf /var/lib/apt/lists/*
# The programs look for libtorch and OpenVINO in ../lib.
COPY --from=build /out /app
WORKDIR /app
ENV PATH=/app/bin:$PATH MLAAS_HTTP_LISTEN=0.0.0.0:8080 MLAAS_LOG_FORMAT=json
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["healthcheck"]
CMD ["worker"]
