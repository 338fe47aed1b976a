#!/usr/bin/env bash
# Runs `lockstep contract lint` or `lockstep contract breaking` with the inputs of the action.
set -euo pipefail

command="$1"
args=(contract "$command" --format human --format github --fail-on "${INPUT_FAIL_ON:-error}")

if [ "$command" = breaking ]; then
    against="${INPUT_AGAINST:-}"
    # A push has no branch that it goes to: there, the releases are what others rely on.
    if [ -z "$against" ] && [ -z "${GITHUB_BASE_REF:-}" ]; then
        against=releases
    fi
    if [ -n "$against" ]; then
        args+=("--against=$against")
    fi
    if [ -n "${INPUT_SARIF:-}" ]; then
        args+=(--output "sarif=$INPUT_SARIF")
        folder="${WORKING_DIRECTORY:-.}"
        echo "sarif=${folder%/}/$INPUT_SARIF" >>"$GITHUB_OUTPUT"
    fi
    # Words are separated on purpose, and never expanded as patterns.
    read -r -a configs <<<"${INPUT_CONFIG:-}"
    for config in ${configs[@]+"${configs[@]}"}; do
        args+=("--consumers-from=$config")
    done
fi

read -r -a paths <<<"${INPUT_PATHS:-}"
exec "$LOCKSTEP" "${args[@]}" -- ${paths[@]+"${paths[@]}"}
