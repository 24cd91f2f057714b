#!/bin/sh
# Makes the namespace that the workers use, unless it is there.
set -eu

namespace=${TEMPORAL_NAMESPACE:-default}
temporal operator namespace describe --namespace "$namespace" >/dev/null 2>&1 && exit
temporal operator namespace create --namespace "$namespace" --retention "${TEMPORAL_RETENTION:-720h}"
