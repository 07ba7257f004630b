package main

import (
	"context"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/structured"
)

// cluster is what all questions have in common: the objects which the scheduler would have in its caches.
type cluster struct {
	Features        map[string]bool              `json:"features"`
	DeviceClasses   []*resourceapi.DeviceClass   `json:"deviceClasses"`
	ResourceSlices  []*resourceapi.ResourceSlice `json:"resourceSlices"`
	AllocatedClaims []*resourceapi.ResourceClaim `json:"allocatedClaims"`
	Nodes           []*v1.Node                   `json:"nodes"`
}

// gates: one that is not named is on.
func (c *cluster) gates() structured.Features {
	on := func(name string) bool {
		value, named := c.Features[name]
		return value || !named
	}
	return structured.Features{
		AdminAccess:             on("adminAccess"),
		CompatibilityGroups:     on("compatibilityGroups"),
		ConsumableCapacity:      on("consumableCapacity"),
		DerivedAttributes:       on("derivedAttributes"),
		DeviceBindingAndStatus:  on("deviceBindingAndStatus"),
		DeviceTaints:            on("deviceTaints"),
		FractionalCapacityRange: on("fractionalCapacityRange"),
		ListTypeAttributes:      on("listTypeAttributes"),
		OptionalNodeOperations:  on("optionalNodeOperations"),
		PartitionableDevices:    on("partitionableDevices"),
		PrioritizedList:         on("prioritizedList"),
	}
}

// cacheSize is kube-scheduler's: it decides how often an expression is compiled again.
const cacheSize = 10

func newCELCache(gates structured.Features) *cel.Cache {
	return cel.NewCache(cacheSize, cel.Features{
		EnableConsumableCapacity: gates.ConsumableCapacity,
		EnableListTypeAttributes: gates.ListTypeAttributes,
	})
}

// allocator is what kube-scheduler makes for each pod, from slices in the order given.
func (c *cluster) allocator(
	ctx context.Context, state structured.AllocatedState, slices []*resourceapi.ResourceSlice, cache *cel.Cache,
) (structured.Allocator, error) {
	return structured.NewAllocator(ctx, c.gates(), state, c.classes(), slices, cache)
}

// allocatedState is what is in use: devices of admin access are not, shares only where they exist.
func (c *cluster) allocatedState() structured.AllocatedState {
	shares := c.gates().ConsumableCapacity
	state := structured.AllocatedState{
		AllocatedDevices:         sets.New[structured.DeviceID](),
		AllocatedSharedDeviceIDs: sets.New[structured.SharedDeviceID](),
		AggregatedCapacity:       structured.NewConsumedCapacityCollection(),
	}
	for _, claim := range c.AllocatedClaims {
		if claim.Status.Allocation == nil {
			continue
		}
		for _, result := range claim.Status.Allocation.Devices.Results {
			if result.AdminAccess != nil && *result.AdminAccess {
				continue
			}
			id := structured.MakeDeviceID(result.Driver, result.Pool, result.Device)
			if !shares || result.ShareID == nil {
				state.AllocatedDevices.Insert(id)
				continue
			}
			state.AllocatedSharedDeviceIDs.Insert(structured.MakeSharedDeviceID(id, result.ShareID))
			if result.ConsumedCapacity != nil {
				state.AggregatedCapacity.Insert(structured.NewDeviceConsumedCapacity(id, result.ConsumedCapacity))
			}
		}
	}
	return state
}

type classes map[string]*resourceapi.DeviceClass

func (c *cluster) classes() classes {
	byName := make(classes, len(c.DeviceClasses))
	for _, class := range c.DeviceClasses {
		byName[class.Name] = class
	}
	return byName
}

func (c classes) List() ([]*resourceapi.DeviceClass, error) {
	all := make([]*resourceapi.DeviceClass, 0, len(c))
	for _, class := range c {
		all = append(all, class)
	}
	return all, nil
}

func (c classes) Get(name string) (*resourceapi.DeviceClass, error) {
	if class, found := c[name]; found {
		return class, nil
	}
	return nil, apierrors.NewNotFound(resourceapi.Resource("deviceclass"), name)
}
