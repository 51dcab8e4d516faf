package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"
)

const (
	memoryLimit  = 150 // MiB
	samplesInAll = 120 // every 5 s in 10 minutes
)

// MemoryUse is the memory that the service's process had resident, in MiB, in
// each third of a run.
type MemoryUse struct {
	ForS   float64   `json:"for_s"`
	Thirds [3]Spread `json:"thirds"`
	// GrowthBytes is by how much memory grew with each check, from the second third
	// to the last, and ModuleBytes by how much it grows with each check of the C
	// loop, afterwards: what the module loses by itself.
	GrowthBytes float64 `json:"growth_bytes"`
	ModuleBytes float64 `json:"module_growth_bytes"`
	// Recycled is how often the module was made anew to give that back, and TookS how
	// long calls waited the last time.
	Recycled uint64  `json:"recycled"`
	TookS    float64 `json:"recycle_s"`
}

// Spread is the smallest, the middle and the largest of some samples.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

func spreadOf(samples []float64) Spread {
	return Spread{slices.Min(samples), median(samples), slices.Max(samples)}
}

// Memory puts the load of [HTTP] on the service for a while and samples how
// much memory its process has resident. There is neither client nor limit in it.
// The ratio is the median of the last third by that of the second: a service
// whose memory does not grow has 1.
func Memory(ctx context.Context, o Options) (Result, error) {
	a := single
	a.name, a.recycles = "memory", true
	o.Apart = true
	return overHTTP(ctx, o, a, sampled)
}

func sampled(ctx context.Context, b *httpBench) (Result, error) {
	b.bodies = nil       // the client has them
	debug.FreeOSMemory() // and what they were sent through goes
	debug.FreeOSMemory() // with the second collection
	d := b.options.For
	var done errandDone
	ended := make(chan error, 1)
	go func() {
		var err error
		done, err = b.service.run(ctx, d)
		ended <- err
	}()
	samples, err := watchMemory(d/samplesInAll, ended)
	if err != nil {
		return Result{}, fmt.Errorf("loading the service: %w", err)
	}
	use := &MemoryUse{ForS: d.Seconds()}
	for i, n := 0, len(samples); i < 3; i++ {
		use.Thirds[i] = spreadOf(samples[i*n/3 : (i+1)*n/3])
	}
	use.GrowthBytes = (use.Thirds[2].Median - use.Thirds[1].Median) * (1 << 20) * 3 / float64(max(done.N, 1))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ; b.hsm.Recycled().Asked; <-tick.C { // the loop's session would die
	}
	use.Recycled, use.TookS = b.hsm.Recycled().Times, b.hsm.Recycled().Took.Seconds()
	if use.ModuleBytes, err = b.moduleGrowth(d / 60); err != nil {
		return Result{}, err
	}
	growth := use.Thirds[2].Median / use.Thirds[1].Median
	return Result{Name: b.name, OpsPerS: float64(done.N) / d.Seconds(), Ratio: growth, Ratios: []float64{growth}, Rounds: 1, Callers: b.callers,
		Unit: b.unit, Limit: fmt.Sprintf("%d MiB resident, and in the last third of the time no more than in the second", memoryLimit),
		MemoryMiB: slices.Max(samples), Memory: use}, nil
}

// moduleGrowth runs the C loop for a while to warm it up, and twice as long to
// see by how many bytes each of its checks grows memory.
func (b *httpBench) moduleGrowth(d time.Duration) (float64, error) {
	if err := errors.Join(b.openLoops(1), b.loop(new(tally), 1, d)); err != nil {
		return 0, fmt.Errorf("measuring the module: %w", err)
	}
	before, err := residentMemory()
	if err != nil {
		return 0, err
	}
	var t tally
	if err := b.loop(&t, 1, 2*d); err != nil {
		return 0, fmt.Errorf("measuring the module: %w", err)
	}
	after, err := residentMemory()
	return (after - before) * (1 << 20) / float64(max(t.n, 1)), err
}

// watchMemory looks at memory again and again until something has ended, three times
// at least.
func watchMemory(every time.Duration, ended <-chan error) (samples []float64, err error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for over := false; !over || len(samples) < 3; {
		select {
		case err := <-ended:
			if err != nil {
				return nil, err
			}
			over = true
		case <-tick.C:
		}
		m, err := residentMemory()
		if err != nil {
			return nil, err
		}
		samples = append(samples, m)
	}
	return samples, nil
}

// residentMemory is what this process has resident, in MiB.
func residentMemory() (float64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("reading how much memory is resident: %w", err)
	}
	var all, resident int
	if _, err := fmt.Fscan(bytes.NewReader(b), &all, &resident); err != nil {
		return 0, fmt.Errorf("reading how much memory is resident: %w", err)
	}
	return float64(resident) * float64(os.Getpagesize()) / (1 << 20), nil
}
