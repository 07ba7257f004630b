package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/dynamic-resource-allocation/cel"
)

func init() {
	subcommands["cel"] = answerSelector
	subcommands["bench-cel"] = answerBenchSelectors
}

// device is what selectors see of a device.
type device struct {
	Driver                   string                                                    `json:"driver"`
	AllowMultipleAllocations *bool                                                     `json:"allowMultipleAllocations"`
	Attributes               map[resourceapi.QualifiedName]resourceapi.DeviceAttribute `json:"attributes"`
	Capacity                 map[resourceapi.QualifiedName]resourceapi.DeviceCapacity  `json:"capacity"`
}

func (d device) input() cel.Device {
	return cel.Device{
		Driver:                   d.Driver,
		AllowMultipleAllocations: d.AllowMultipleAllocations,
		Attributes:               d.Attributes,
		Capacity:                 d.Capacity,
	}
}

type selectorQuestion struct {
	Device     device          `json:"device"`
	Expression string          `json:"expression"`
	New        bool            `json:"new"`
	Features   map[string]bool `json:"features"`
}

type selectorAnswer struct {
	Expression    string  `json:"expression"`
	Outcome       string  `json:"outcome"`
	Message       string  `json:"message,omitempty"`
	EstimatedCost *uint64 `json:"estimatedCost,omitempty"`
	ActualCost    *uint64 `json:"actualCost,omitempty"`
}

func answerSelector(line []byte) (any, error) {
	var question selectorQuestion
	if err := json.Unmarshal(line, &question); err != nil {
		return nil, err
	}
	return decideSelector(question), nil
}

func decideSelector(question selectorQuestion) (answer selectorAnswer) {
	answer.Expression = question.Expression
	defer func() {
		if reason := recover(); reason != nil {
			answer.Outcome, answer.Message = "panic", fmt.Sprint(reason)
		}
	}()
	on := func(gate string) bool {
		enabled, named := question.Features[gate]
		return enabled || !named
	}
	kind := environment.StoredExpressions
	if question.New {
		kind = environment.NewExpressions
	}
	compiled := cel.GetCompiler(cel.Features{
		EnableConsumableCapacity: on("consumableCapacity"),
		EnableListTypeAttributes: on("listTypeAttributes"),
	}).CompileCELExpression(question.Expression, cel.Options{EnvType: &kind})
	if compiled.Error != nil {
		answer.Outcome, answer.Message = "compile_error", compiled.Error.Detail
		return answer
	}
	answer.EstimatedCost = &compiled.MaxCost
	matched, details, err := compiled.DeviceMatches(context.Background(), question.Device.input())
	if details != nil {
		answer.ActualCost = details.ActualCost()
	}
	switch {
	case err != nil:
		answer.Outcome, answer.Message = "runtime_error", err.Error()
	case matched:
		answer.Outcome = "match"
	default:
		answer.Outcome = "no_match"
	}
	return answer
}

// selectorBench is one run: each of `warm` again and again on the first device, then all of `cold` on all devices.
type selectorBench struct {
	Devices []device `json:"devices"`
	Warm    []string `json:"warm"`
	Cold    []string `json:"cold"`
	Seconds float64  `json:"seconds"`
	Runs    int      `json:"coldRuns"`
}

type selectorBenchAnswer struct {
	WarmNs      []float64 `json:"warmNs"`
	ColdSeconds float64   `json:"coldSeconds"`
	Matches     int       `json:"matches"`
}

func answerBenchSelectors(line []byte) (any, error) {
	var bench selectorBench
	if err := json.Unmarshal(line, &bench); err != nil {
		return nil, err
	}
	inputs := make([]cel.Device, len(bench.Devices))
	for i, device := range bench.Devices {
		inputs[i] = device.input()
	}
	var answer selectorBenchAnswer
	compile := func(expression string) (cel.CompilationResult, error) {
		features := cel.Features{EnableConsumableCapacity: true, EnableListTypeAttributes: true}
		// As kube-scheduler compiles: the API server has checked the cost.
		compiled := cel.GetCompiler(features).CompileCELExpression(expression, cel.Options{DisableCostEstimation: true})
		if compiled.Error != nil {
			return compiled, fmt.Errorf("%s: %w", expression, compiled.Error)
		}
		return compiled, nil
	}
	if _, err := compile("true"); err != nil { // the environment is made once in a process
		return nil, err
	}
	for range max(bench.Runs, 1) {
		answer.Matches = 0
		start := time.Now()
		for _, expression := range bench.Cold {
			compiled, err := compile(expression)
			if err != nil {
				return nil, err
			}
			for _, input := range inputs {
				matched, _, err := compiled.DeviceMatches(context.Background(), input)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", expression, err)
				}
				if matched {
					answer.Matches++
				}
			}
		}
		if seconds := time.Since(start).Seconds(); answer.ColdSeconds == 0 || seconds < answer.ColdSeconds {
			answer.ColdSeconds = seconds
		}
	}
	for _, expression := range bench.Warm {
		compiled, err := compile(expression)
		if err != nil {
			return nil, err
		}
		best := 0.0
		deadline := time.Now().Add(time.Duration(bench.Seconds * float64(time.Second)))
		for best == 0 || time.Now().Before(deadline) {
			const rounds = 200
			start := time.Now()
			for range rounds {
				if _, _, err := compiled.DeviceMatches(context.Background(), inputs[0]); err != nil {
					return nil, fmt.Errorf("%s: %w", expression, err)
				}
			}
			if ns := float64(time.Since(start).Nanoseconds()) / rounds; best == 0 || ns < best {
				best = ns
			}
		}
		answer.WarmNs = append(answer.WarmNs, best)
	}
	return answer, nil
}
