package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/structured"
)

// filterTimeout is kube-scheduler's default for one node.
const filterTimeout = 10 * time.Second

// A vector: the claims of one pod, and for each node a question of its own about the same state.
type vector struct {
	ID string `json:"id"`
	cluster
	Claims  []*resourceapi.ResourceClaim `json:"claims"`
	Seconds float64                      `json:"seconds"`
}

type answer struct {
	ID   string `json:"id"`
	Want want   `json:"want"`
}

type want struct {
	Nodes map[string]*verdict `json:"nodes"`
}

type verdict struct {
	Outcome        string       `json:"outcome"`
	Error          string       `json:"error,omitempty"`
	Allocations    []allocation `json:"allocations,omitempty"`
	OrderSensitive bool         `json:"orderSensitive,omitempty"`
}

const (
	allocated     = "allocated"
	unschedulable = "unschedulable"
	failed        = "error"
	panicked      = "panic"
)

// Of the three allocators only the experimental one honors every gate.
func init() { structured.EnableAllocators("experimental") }

func answerCase(line []byte) (any, error) {
	question := vector{Seconds: filterTimeout.Seconds()}
	if err := json.Unmarshal(line, &question); err != nil {
		return nil, err
	}
	forward, err := question.allocate()
	if err != nil {
		return nil, fmt.Errorf("case %s: %w", question.ID, err)
	}
	question.reverse()
	backward, err := question.allocate()
	if err != nil {
		return nil, fmt.Errorf("case %s: %w", question.ID, err)
	}
	for name, node := range forward {
		node.OrderSensitive = !node.equivalent(backward[name])
	}
	return answer{ID: question.ID, Want: want{Nodes: forward}}, nil
}

// allocate does what kube-scheduler does for one pod: one allocator, asked for each node.
func (v *vector) allocate() (map[string]*verdict, error) {
	ctx := context.Background()
	allocator, err := v.allocator(ctx, v.allocatedState(), v.ResourceSlices, newCELCache(v.gates()))
	if err != nil {
		return nil, err
	}
	verdicts := make(map[string]*verdict, len(v.Nodes))
	for _, node := range v.Nodes {
		verdicts[node.Name] = v.judge(ctx, allocator, node)
	}
	return verdicts, nil
}

func (v *vector) judge(ctx context.Context, allocator structured.Allocator, node *v1.Node) (answer *verdict) {
	defer func() {
		if reason := recover(); reason != nil {
			answer = &verdict{Outcome: panicked, Error: fmt.Sprint(reason)}
		}
	}()
	ctx, cancel := withTimeout(ctx, time.Duration(v.Seconds*float64(time.Second)))
	defer cancel()
	allocations, err := allocator.Allocate(ctx, node, v.Claims)
	switch {
	case errors.Is(err, structured.ErrFailedAllocationOnNode):
		return &verdict{Outcome: unschedulable, Error: err.Error()}
	case err != nil:
		return &verdict{Outcome: failed, Error: err.Error()}
	case allocations == nil:
		return &verdict{Outcome: unschedulable, Error: "cannot allocate all claims"}
	}
	numberShares(allocations)
	return &verdict{Outcome: allocated, Allocations: written(allocations)}
}

// withTimeout ends a search with kube-scheduler's words.
func withTimeout(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, errors.New("timed out trying to allocate devices"))
}

// numberShares makes the random share IDs comparable.
func numberShares(allocations []resourceapi.AllocationResult) {
	number := 0
	for _, allocation := range allocations {
		for i := range allocation.Devices.Results {
			if result := &allocation.Devices.Results[i]; result.ShareID != nil {
				number++
				id := types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", number))
				result.ShareID = &id
			}
		}
	}
}
