# syntax=docker/dockerfile:1
#
# One image for each program: docker build --target query-svc .
#
# The stage `programs` holds the compiled programs. If you have them already, use your directory instead:
# docker build --target query-svc --build-context programs=DIRECTORY .

ARG RUST_VERSION=1.95
ARG DISTROLESS=gcr.io/distroless/cc-debian12:nonroot

# ---- The toolchain

FROM rust:${RUST_VERSION}-slim-bookworm AS toolchain
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake \
    && rm -rf /var/lib/apt/lists/*
RUN cargo install cargo-chef --version 0.1.78 --locked
WORKDIR /microblog

# ---- The list of dependencies: it changes only when a Cargo.toml or the lock file changes

FROM toolchain AS recipe
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

# ---- The dependencies, then our own code

FROM toolchain AS build
# `release` builds some minutes faster and makes larger images; `dev` is for testing this file.
ARG PROFILE=image
COPY --from=recipe /microblog/recipe.json .
ARG PACKAGES="--package command-svc --package query-svc --package projector --package gateway --package microblog --package operator"
# Without default features, `microblog` contains only the tools: here each service has its own image.
RUN cargo chef cook --profile ${PROFILE} --locked --no-default-features ${PACKAGES} --recipe-path recipe.json
COPY . .
RUN cargo build --profile ${PROFILE} --locked --no-default-features ${PACKAGES} \
    && mkdir /programs \
    && cd "target/$(if [ "${PROFILE}" = dev ]; then echo debug; else echo "${PROFILE}"; fi)" \
    && cp command-svc query-svc projector gateway microblog operator /programs

FROM scratch AS programs
COPY --from=build /programs /

# ---- The images: a C library, certificates, and one program that needs neither root nor a writable file system

FROM ${DISTROLESS} AS image
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Microblog" \
      org.opencontainers.image.source="https://github.com/microblog/microblog" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65532:65532

FROM image AS command-svc
LABEL org.opencontainers.image.description="The API for writing: users, sessions, posts, follows, likes, reposts"
COPY --from=programs /command-svc /usr/local/bin/command-svc
EXPOSE 8081
ENTRYPOINT ["/usr/local/bin/command-svc"]

FROM image AS query-svc
LABEL org.opencontainers.image.description="The API for reading: timelines, profiles, threads"
COPY --from=programs /query-svc /usr/local/bin/query-svc
EXPOSE 8082
ENTRYPOINT ["/usr/local/bin/query-svc"]

FROM image AS projector
LABEL org.opencontainers.image.description="Follows the events and writes the views"
COPY --from=programs /projector /usr/local/bin/projector
EXPOSE 8083
ENTRYPOINT ["/usr/local/bin/projector"]

FROM image AS gateway
LABEL org.opencontainers.image.description="One address for everything: passes requests on to the service that answers them"
COPY --from=programs /gateway /usr/local/bin/gateway
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/gateway"]

FROM image AS operator
LABEL org.opencontainers.image.description="Rebuilds and pauses the views as Projection resources say"
COPY --from=programs /operator /usr/local/bin/operator
EXPOSE 8084
ENTRYPOINT ["/usr/local/bin/operator"]

FROM image AS microblog
LABEL org.opencontainers.image.description="The tools: verify, rebuild, dead-letters, import, demo, smoke"
COPY --from=programs /microblog /usr/local/bin/microblog
ENTRYPOINT ["/usr/local/bin/microblog"]
