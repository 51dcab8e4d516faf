// Package bench measures parts of the service, each against the bare limit that it is held to, in one run.
//
// A measurement and its limit are taken in paired rounds, in turn, in one
// process, so that what disturbs one disturbs both; what counts is the median
// of the rounds' ratios.
package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapvault/tapvault/hsm"
)

// Options says how to measure. The zero value is the default.
type Options struct {
	// HSM opens the token to measure on, which must hold no key labelled
	// "bench.mpk.v1": that key is made and stays. Nil: a scratch SoftHSM token.
	HSM *hsm.Config
	// Module names the software module of the scratch token, as in
	// softtoken.Modules. "": the default. [AllModules]: one after the other, where
	// a bench is of cryptograms alone.
	Module string
	// Rounds is the number of paired rounds, at least 9. 0 means 11.
	Rounds int
	// For is how long the bench of memory lasts. 0 means 10 minutes.
	For time.Duration
	// Round is how long each side of a round takes, about. 0 means 300 ms, or
	// a second for sessions, purchase, arqc and tac.
	Round time.Duration
	// Apart puts the client of a bench over HTTP into a process of its own.
	Apart bool

	slices int // of a round, run in turn; 0: slicesOfRound
	least  int // operations in a slice
}

// Result is what a bench prints.
type Result struct {
	Name      string    `json:"name"`
	OpsPerS   float64   `json:"ops_per_s"`
	LimitPerS float64   `json:"limit_per_s,omitempty"` // 0 where the limit is no rate
	Ratio     float64   `json:"ratio"`                 // median of Ratios, not OpsPerS by LimitPerS
	Unit      string    `json:"unit"`                  // what one operation is
	Limit     string    `json:"limit"`                 // what the limit is
	Callers   int       `json:"callers"`
	Module    string    `json:"module,omitempty"`
	Rounds    int       `json:"rounds"`
	Ratios    []float64 `json:"ratios"` // of each round, smallest first
	// CallsEach and LimitCallsEach are PKCS #11 calls for one operation, of either
	// side, where they are counted.
	CallsEach      float64 `json:"calls_each,omitempty"`
	LimitCallsEach float64 `json:"limit_calls_each,omitempty"`
	// CPUOutsideModuleUS is this process's CPU time per operation less the loop's,
	// where it is measured: the service's and its client's, or, if the client is a
	// process of its own, the service's alone, and ClientCPUUS the client's.
	CPUOutsideModuleUS float64 `json:"cpu_outside_module_us,omitempty"`
	ClientCPUUS        float64 `json:"client_cpu_us,omitempty"`
	// CPUOutsideByLoop is the same by the CPU time of the loop in the same round, which
	// carries from machine to machine as a ratio does.
	CPUOutsideByLoop float64 `json:"cpu_outside_by_loop,omitempty"`
	// ModuleCPUUS is the CPU time per operation that the module took in the service, by
	// the clocks of its threads. LoopCPUUS and EchoCPUUS are what each of the limits
	// took: the C loop, which takes the module less in a process that does nothing else,
	// and the echo, which is the least that a request can take here.
	ModuleCPUUS float64 `json:"module_cpu_us,omitempty"`
	LoopCPUUS   float64 `json:"loop_cpu_us,omitempty"`
	EchoCPUUS   float64 `json:"echo_cpu_us,omitempty"`
	// MemoryMiB is the most memory that the process had resident, with the limit and,
	// unless it was put apart, the client in it, where that is measured.
	MemoryMiB float64 `json:"memory_mib,omitempty"`
	// Memory is what the bench of memory saw.
	Memory *MemoryUse `json:"memory,omitempty"`
	// Store is the kind of database, where one is measured.
	Store string `json:"store,omitempty"`
	// TogetherPerS and GroupedPerS are bare figures of the same rows: those of
	// one operation in a commit, and those of as many operations as there are
	// callers in a commit.
	TogetherPerS float64 `json:"together_per_s,omitempty"`
	GroupedPerS  float64 `json:"grouped_per_s,omitempty"`
	// Parts are the results on each kind of database or module, and for each
	// number of callers; the rest is the one of them with the lowest ratio.
	Parts []Result `json:"parts,omitempty"`
	// CostRatio is Ratio turned round where a cost is bounded, and Lookup the
	// second half of the bench of ranges.
	CostRatio float64 `json:"cost_ratio,omitempty"`
	Lookup    *Result `json:"lookup,omitempty"`
}

// Bench is one measurement.
type Bench struct {
	Name string
	What string // one line for the help text
	Run  func(context.Context, Options) (Result, error)
}

// Benches lists every measurement by name.
var Benches = []Bench{
	{"purchase", "purchase checks at 1, 2 and 8 callers, by a bare C loop of the same PKCS #11 calls", Purchase},
	{"arqc", "ARQC checks of EMV cards at 1, 2 and 8 callers, by a bare C loop of the fewest PKCS #11 calls", ARQC},
	{"tac", "TAC checks of physical cards at 1, 2 and 8 callers, by a bare C loop of the fewest PKCS #11 calls", TAC},
	{"sessions", "purchase checks and HMACs with 32 sessions of a module that is slow, by those with one", Sessions},
	{"http", "the check over TLS 1.3, JSON and JWT, by the smaller of the C loop and a bare gin echo", HTTP},
	{"http-durable", "a check that is on the disk before its answer, over TLS 1.3, JSON and JWT, by the same limit", HTTPDurable},
	{"memory", "memory of the service under the load of http, for --for, by 150 MiB", Memory},
	{"batch", "purchase checks over HTTP, 500 per request, by a bare C loop of the same PKCS #11 calls", Batch},
	{"tokenize", "tokens for new cards on SQLite and PostgreSQL, by bare commits of the same rows", Tokenize},
	{"detokenize", "card numbers on SQLite and PostgreSQL, by bare reads and one HSM opening", Detokenize},
	{"tap", "wallets' taps judged and posted in batches of 500, by a bare C loop of the PKCS #11 calls they need", Tap},
	{"range", "issuing at 99 % full by issuing at 1 %, and lookups among 10 million by those among 100,000", Range},
}

// CallsAtOnce is how many calls of the hot path a bench has in the module at once.
func CallsAtOnce(name string) int {
	if name == "sessions" {
		return manySessions
	}
	return 1
}

// Run runs the bench of a name.
func Run(ctx context.Context, name string, o Options) (Result, error) {
	var names []string
	for _, b := range Benches {
		if b.Name == name {
			return b.Run(ctx, o)
		}
		names = append(names, b.Name)
	}
	return Result{}, fmt.Errorf("no bench is called %q: there are %s", name, strings.Join(names, ", "))
}

func (o Options) withDefaults() Options {
	if o.Rounds == 0 {
		o.Rounds = 11
	}
	o.Rounds = max(o.Rounds, 9)
	if o.For <= 0 {
		o.For = 10 * time.Minute
	}
	if o.Round <= 0 {
		o.Round = 300 * time.Millisecond
	}
	if o.slices == 0 {
		o.slices = slicesOfRound
	}
	return o
}

// paired measures two sides in turn. Each side does n operations when asked
// and says how long they took.
func paired(ctx context.Context, o Options, side, limit func(n int) (time.Duration, error)) (Result, error) {
	sideN, err := calibrate(o, side)
	if err != nil {
		return Result{}, err
	}
	limitN, err := calibrate(o, limit)
	if err != nil {
		return Result{}, err
	}
	var sides, limits, ratios []float64
	for range o.Rounds {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		s, l, err := round(o.slices, side, limit, sideN, limitN)
		if err != nil {
			return Result{}, err
		}
		sides, limits, ratios = append(sides, s), append(limits, l), append(ratios, s/l)
	}
	slices.Sort(ratios)
	return Result{OpsPerS: median(sides), LimitPerS: median(limits), Ratio: median(ratios), Callers: 1,
		Rounds: o.Rounds, Ratios: ratios}, nil
}

// slices of a round are run in turn, so that both sides of it meet the same
// disturbances.
const slicesOfRound = 30

// round measures both sides once and returns their rates.
func round(slices int, side, limit func(int) (time.Duration, error), sideN, limitN int) (s, l float64, err error) {
	var took, bare time.Duration
	for i := range 2 * slices {
		// side, limit, limit, side, side, ...: none is always first
		if d := time.Duration(0); (i+1)/2%2 == 0 {
			d, err = side(sideN)
			took += d
		} else {
			d, err = limit(limitN)
			bare += d
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return float64(sideN*slices) / took.Seconds(), float64(limitN*slices) / bare.Seconds(), nil
}

// calibrate warms a side up and finds how many operations make a slice.
func calibrate(o Options, f func(int) (time.Duration, error)) (int, error) {
	n := 1000
	if _, err := f(n); err != nil {
		return 0, err
	}
	d, err := f(n)
	if err != nil {
		return 0, err
	}
	return max(n/500, o.least, int(float64(n)*o.Round.Seconds()/d.Seconds())/o.slices), nil
}

func median(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	n := len(xs)
	if n == 0 {
		return 0
	}
	return (xs[(n-1)/2] + xs[n/2]) / 2
}
