#!/usr/bin/env bash
# The demo: a cluster with simulated GPU nodes, the operator, and pods that get GPUs by their attributes.
#   tools/demo.sh [NAME]     NAME is the sandbox, which stays up; `dra-operator sandbox down --name NAME` ends it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=${1:-demo}
program=.venv/bin/dra-operator
pods=6
seconds=60

kubectl() { "$program" sandbox kubectl --name "$name" -- "$@"; }

if ! "$program" sandbox status --name "$name" >/dev/null 2>&1; then
	"$program" sandbox up --name "$name" --nodes 2 --gpus 4 --profile h100-sxm-80gb --operator
fi

echo
echo "$pods pods, each asks for one GPU with at least 60Gi of memory that may draw 500 W or more:"
kubectl delete namespace demo --ignore-not-found >/dev/null
kubectl apply -f - <<'YAML'
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata:
  name: gpu.dra-operator.io
spec:
  selectors:
    - cel:
        expression: device.driver == 'gpu.dra-operator.io'
---
apiVersion: v1
kind: Namespace
metadata:
  name: demo
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata:
  namespace: demo
  name: big-gpu
spec:
  spec:
    devices:
      requests:
        - name: gpu
          exactly:
            deviceClassName: gpu.dra-operator.io
            selectors:
              - cel:
                  expression: >-
                    device.capacity['gpu.dra-operator.io'].memory.compareTo(quantity('60Gi')) >= 0 &&
                    device.attributes['gpu.dra-operator.io'].powerLimitWatts >= 500
---
apiVersion: apps/v1
kind: Deployment
metadata:
  namespace: demo
  name: training
spec:
  replicas: 6
  selector:
    matchLabels: {app: training}
  template:
    metadata:
      labels: {app: training}
    spec:
      terminationGracePeriodSeconds: 1
      resourceClaims:
        - name: gpu
          resourceClaimTemplateName: big-gpu
      containers:
        - name: main
          image: busybox:1.37
          resources:
            claims:
              - name: gpu
YAML

end=$((SECONDS + seconds))
until [ "$(kubectl get pods -n demo --field-selector=status.phase=Running --no-headers 2>/dev/null | wc -l)" -ge "$pods" ]; do
	if [ "$SECONDS" -ge "$end" ]; then
		kubectl get pods,resourceclaims -n demo -o wide
		echo "not all of the $pods pods run after $seconds s; \`$program sandbox status --name $name\` names the logs" >&2
		exit 1
	fi
	sleep 0.5
done
echo
kubectl get pods -n demo -o wide
echo
kubectl get resourceclaims -n demo -o custom-columns='CLAIM:.metadata.name,NODE:.status.allocation.devices.results[0].pool,DEVICE:.status.allocation.devices.results[0].device,FOR:.status.reservedFor[0].name'
cat <<TEXT

Go on:
  $program sandbox kubectl --name $name -- get resourceslices
  $program sandbox kubectl --name $name -- scale deployment/training -n demo --replicas=10   # 8 GPUs: two pods wait
  $program sandbox status --name $name
  $program sandbox down --name $name
TEXT
