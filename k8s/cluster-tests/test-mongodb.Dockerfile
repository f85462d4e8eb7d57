# The MongoDB-compatible stand-in that the tests use where MongoDB's own image can't be had. For tests only: it is never published.
FROM docker.io/library/debian:bookworm-slim
COPY secantusd-rs initiate-stand-in /usr/local/bin/
USER 999:999
