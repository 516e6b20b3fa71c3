#!/bin/sh
# After a version was changed: write .mvn/checksums anew, of all that a build with an empty repository takes. Look at
# the difference before it is committed: whoever could change an artifact before now has its sum taken for right.
set -eu
cd "$(dirname "$0")"
rm -rf .mvn/checksums
EDGE_MOE_CACHE=$(mktemp -d) && export EDGE_MOE_CACHE && trap 'rm -rf "$EDGE_MOE_CACHE"' EXIT
checked=-Daether.artifactResolver.postProcessor.trustedChecksums
./mvn.sh --batch-mode clean package $checked.record=true $checked.failIfMissing=false "$@"
LC_ALL=C sort -k2 -o .mvn/checksums/checksums.sha256 .mvn/checksums/checksums.sha256
