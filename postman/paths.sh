# Sourced by the scripts beside it, in this directory: where newman is, by what package-lock.json pins.
# shellcheck shell=sh disable=SC2034
TOOLS="${XDG_CACHE_HOME:-$HOME/.cache}/microblog/tools"
NEWMAN_DIR="$TOOLS/newman-$(cksum <package-lock.json | cut -d ' ' -f 1)"
NEWMAN="$NEWMAN_DIR/node_modules/.bin/newman"
