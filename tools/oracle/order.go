package main

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
)

// reverse lets the allocator visit the devices of each pool the other way round: slices get names which sort in reverse,
// devices are listed in reverse. Pools and drivers keep their order.
func (v *vector) reverse() {
	names := sets.New[string]()
	for _, slice := range v.ResourceSlices {
		names.Insert(slice.Name)
	}
	mirrored := mirror(names)
	for _, slice := range v.ResourceSlices {
		slice.Name = mirrored[slice.Name]
		slices.Reverse(slice.Spec.Devices)
	}
}

// mirror gives each name another one, and those sort the other way round.
func mirror(names sets.Set[string]) map[string]string {
	sorted := sets.List(names)
	slices.Reverse(sorted)
	renamed := make(map[string]string, len(sorted))
	for i, name := range sorted {
		renamed[name] = fmt.Sprintf("mirrored-%06d", i)
	}
	return renamed
}

// equivalent: the same outcome and, for each claim, the same requests and subrequests served.
func (v *verdict) equivalent(other *verdict) bool {
	return v.Outcome == other.Outcome && slices.EqualFunc(v.Allocations, other.Allocations,
		func(a, b allocation) bool { return requestsOf(a).Equal(requestsOf(b)) })
}

func requestsOf(allocation allocation) sets.Set[string] {
	names := sets.New[string]()
	for _, result := range allocation.Devices.Results {
		names.Insert(result.Request)
	}
	return names
}
