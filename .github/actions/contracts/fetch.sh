#!/usr/bin/env bash
# Brings the history that the comparison needs: actions/checkout leaves all but one commit out.
# Lockstep itself never fetches.
set -euo pipefail

against="${INPUT_AGAINST:-}"
if [ "$against" = releases ] || { [ -z "$against" ] && [ -z "${GITHUB_BASE_REF:-}" ]; }; then
    exit 0
fi

options=(--quiet --no-recurse-submodules)
if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
    options+=(--unshallow)
fi
if [ -z "$against" ]; then
    branch="$GITHUB_BASE_REF"
    git fetch "${options[@]}" origin "+refs/heads/$branch:refs/remotes/origin/$branch"
else
    # It may be a branch, a tag or a commit: all branches and tags bring each of them.
    git fetch "${options[@]}" --tags origin '+refs/heads/*:refs/remotes/origin/*'
fi
