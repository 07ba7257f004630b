package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/structured"
)

// inventory is what all pods of one line are measured on.
type inventory struct {
	ID string `json:"id"`
	cluster
	Pods    []pod   `json:"pods"`
	Runs    int     `json:"runs"`
	Seconds float64 `json:"seconds"`
}

type pod struct {
	Name   string                       `json:"name"`
	Claims []*resourceapi.ResourceClaim `json:"claims"`
}

type benchAnswer struct {
	ID   string      `json:"id"`
	Pods []podTiming `json:"pods"`
}

type podTiming struct {
	Name          string `json:"name"`
	FirstFeasible timing `json:"firstFeasible"`
	Enough        timing `json:"enough"`
}

type timing struct {
	Runs     int     `json:"runs"`
	MedianNs int64   `json:"medianNs"`
	P99Ns    int64   `json:"p99Ns"`
	MinNs    int64   `json:"minNs"`
	Nodes    float64 `json:"nodes"`    // asked, on average
	Feasible float64 `json:"feasible"` // found, on average
	Error    string  `json:"error,omitempty"`
}

const (
	defaultRuns    = 200
	defaultSeconds = 2.0
	fewestRuns     = 5
)

func answerBench(line []byte) (any, error) {
	question := inventory{Runs: defaultRuns, Seconds: defaultSeconds}
	if err := json.Unmarshal(line, &question); err != nil {
		return nil, err
	}
	if len(question.Nodes) == 0 {
		return nil, fmt.Errorf("inventory %s has no nodes", question.ID)
	}
	state, cache := question.allocatedState(), newCELCache(question.gates())
	answer := benchAnswer{ID: question.ID, Pods: make([]podTiming, 0, len(question.Pods))}
	for _, pod := range question.Pods {
		enough := feasibleNodesToFind(len(question.Nodes))
		answer.Pods = append(answer.Pods, podTiming{
			Name:          pod.Name,
			FirstFeasible: question.measure(pod, state, cache, 1),
			Enough:        question.measure(pod, state, cache, enough),
		})
	}
	return answer, nil
}

// feasibleNodesToFind is how many nodes kube-scheduler wants before it stops looking, with its default settings.
func feasibleNodesToFind(nodes int) int {
	const fewest, leastPercentage = 100, 5
	if nodes < fewest {
		return nodes
	}
	return max(fewest, nodes*max(leastPercentage, 50-nodes/125)/100)
}

// measure decides about the pod again and again: a new allocator each time, then node by node until enough are
// feasible. The next decision starts behind the last node asked, as kube-scheduler's does. What is in use and the
// compiled selectors are kept, the scheduler has them at hand, too.
func (i *inventory) measure(pod pod, state structured.AllocatedState, cache *cel.Cache, enough int) timing {
	ctx := context.Background()
	classes := i.classes()
	gates := i.gates()
	var durations []time.Duration
	var asked, feasible int
	result := timing{}
	for start, begin := 0, time.Now(); len(durations) < i.Runs; {
		if len(durations) >= fewestRuns && time.Since(begin).Seconds() > i.Seconds {
			break
		}
		from := time.Now()
		tried, found := 0, 0
		allocator, err := structured.NewAllocator(ctx, gates, state, classes, i.ResourceSlices, cache)
		for err == nil && tried < len(i.Nodes) && found < enough {
			var allocations []resourceapi.AllocationResult
			node := i.Nodes[(start+tried)%len(i.Nodes)]
			limited, cancel := withTimeout(ctx, filterTimeout)
			allocations, err = allocator.Allocate(limited, node, pod.Claims)
			cancel()
			if errors.Is(err, structured.ErrFailedAllocationOnNode) {
				err = nil
			}
			tried++
			if allocations != nil {
				found++
			}
		}
		durations = append(durations, time.Since(from))
		start = (start + tried) % len(i.Nodes)
		asked += tried
		feasible += found
		if err != nil {
			result.Error = err.Error()
			break
		}
	}
	slices.Sort(durations)
	runs := len(durations)
	result.Runs = runs
	result.MinNs = durations[0].Nanoseconds()
	result.MedianNs = durations[runs/2].Nanoseconds()
	result.P99Ns = durations[(runs*99)/100].Nanoseconds()
	result.Nodes = float64(asked) / float64(runs)
	result.Feasible = float64(feasible) / float64(runs)
	return result
}
