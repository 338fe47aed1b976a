#!/usr/bin/env bash
# Finds the lockstep binary, or builds it from the repository that this action is part of.
set -euo pipefail

if [ -n "${INPUT_BINARY:-}" ]; then
    binary="$(realpath -- "$INPUT_BINARY")"
elif command -v lockstep >/dev/null; then
    binary="$(command -v lockstep)"
else
    root="$(cd "$ACTION_PATH/../../.." && pwd)"
    echo "::group::Build lockstep"
    cargo build --locked --profile quick --package lockstep --manifest-path "$root/Cargo.toml" >&2
    echo "::endgroup::"
    binary="${CARGO_TARGET_DIR:-$root/target}/quick/lockstep"
fi

"$binary" --version >&2
echo "binary=$binary" >>"$GITHUB_OUTPUT"
