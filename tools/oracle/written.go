package main

import (
	"strings"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// An allocation is written as resource.k8s.io/v1 JSON, but with the amounts that the allocator meant: Quantity's own
// JSON turns 10^21, and more, into "1".
type allocation struct {
	Devices      devices          `json:"devices"`
	NodeSelector *v1.NodeSelector `json:"nodeSelector,omitempty"`
}

type devices struct {
	Results []result                                    `json:"results,omitempty"`
	Config  []resourceapi.DeviceAllocationConfiguration `json:"config,omitempty"`
}

type result struct {
	resourceapi.DeviceRequestAllocationResult
	ConsumedCapacity map[resourceapi.QualifiedName]string `json:"consumedCapacity,omitempty"` // in place of the embedded one
}

func written(allocations []resourceapi.AllocationResult) []allocation {
	all := make([]allocation, 0, len(allocations))
	for _, from := range allocations {
		to := allocation{NodeSelector: from.NodeSelector, Devices: devices{Config: from.Devices.Config}}
		for _, each := range from.Devices.Results {
			amounts := make(map[resourceapi.QualifiedName]string, len(each.ConsumedCapacity))
			for name, quantity := range each.ConsumedCapacity {
				amounts[name] = text(quantity)
			}
			to.Devices.Results = append(to.Devices.Results, result{each, amounts})
		}
		all = append(all, to)
	}
	return all
}

func text(quantity resource.Quantity) string {
	text := quantity.String()
	if read, err := resource.ParseQuantity(text); err == nil && read.Cmp(quantity) == 0 {
		return text
	}
	digits := quantity.AsDec().String()
	if strings.Contains(digits, ".") {
		digits = strings.TrimRight(strings.TrimRight(digits, "0"), ".")
	}
	return digits
}
