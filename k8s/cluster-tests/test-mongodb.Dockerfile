# The MongoDB-compatible stand-in, for tests that can't get MongoDB's own image. It is only for tests, and is never published.
FROM docker.io/library/debian:bookworm-slim
COPY secantusd-rs initiate-stand-in /usr/local/bin/
USER 999:999
