package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/cryptogram"
	"github.com/tapvault/tapvault/hsm"
	"github.com/tapvault/tapvault/internal/assembly"
)

const (
	httpCallers  = 16
	batchCallers = 4    // so that one batch is read while another is in the HSM
	httpRequests = 4096 // different cards, so that no cached key helps
)

// HTTP measures the purchase check as a back office asks for it: one check per
// request, through TLS 1.3, JSON and an access token, over 16 connections. The
// limit is the smaller of a C loop of the same PKCS #11 calls (on 1, 2 or 8
// threads, whichever is best) and a bare gin echo of the same bodies over TLS.
// The client is in this process, and its CPU counts, or, with Options.Apart, is
// another process on the same cores; the echo's client likewise.
func HTTP(ctx context.Context, o Options) (Result, error) { return overHTTP(ctx, o, single, compare) }

// HTTPDurable measures in the same way a check that is recorded before its
// answer: a load host's, which checks a card's MAC1 and makes MAC2. The record is
// on the disk first.
func HTTPDurable(ctx context.Context, o Options) (Result, error) {
	return overHTTP(ctx, o, durable, compare)
}

// Batch measures purchase checks that are asked for 500 at a time.
func Batch(ctx context.Context, o Options) (Result, error) { return overHTTP(ctx, o, batched, compare) }

// ask is one way to ask for checks over HTTP.
type ask struct {
	name, path, unit, limit string
	action                  access.Action
	role                    access.Role
	callers                 int
	records                 int  // of one request
	echo                    bool // the echo counts as a limit too
	recycles                bool // the module is recycled as in a service
	body                    func(ctx context.Context, keys cryptogram.Keys, scheme cryptogram.Scheme, n uint64) (any, error)
}

const cLoop = "a C loop of the same PKCS #11 calls (best on %d threads)"

var (
	single = ask{name: "http", path: "/v1/cryptograms/purchase/verify", role: access.Terminal, action: access.PurchaseMake,
		unit:  "purchase check (MAC1 and MAC2 of another card each) through TLS 1.3, JSON and JWT, one per request",
		limit: "the smaller of " + cLoop + " and a bare gin echo over TLS", callers: httpCallers, records: 1, echo: true, body: purchaseBody}
	durable = ask{name: "http-durable", path: "/v1/cryptograms/load", role: access.Issuer, action: access.LoadHost,
		unit:  "load check (MAC1 checked, MAC2 made, of another card each), recorded on the disk before its answer, through TLS 1.3, JSON and JWT, one per request",
		limit: "the smaller of " + cLoop + " and a bare gin echo over TLS", callers: httpCallers, records: 1, echo: true, body: loadBody}
	batched = ask{name: "batch", path: "/v1/cryptograms/purchase/verify/batch", role: access.Terminal, action: access.PurchaseMake,
		unit:  "purchase check (MAC1 and MAC2 of another card each) through TLS 1.3, JSON and JWT, 500 per request",
		limit: cLoop, callers: batchCallers, records: 500, body: purchasesBody}
)

// overHTTP makes a service with its client, and measures what is asked for.
func overHTTP(ctx context.Context, o Options, a ask, measure func(context.Context, *httpBench) (Result, error)) (res Result, err error) {
	o = o.withDefaults()
	cfg, done, err := scratch(ctx, o)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, done()) }()
	dir, err := os.MkdirTemp("", "tapvault-bench-")
	if err != nil {
		return res, fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &httpBench{ask: a, options: o, token: cfg, config: httpConfig(cfg).In(dir)}
	if a.recycles {
		b.config.HSM.RecycleAfter = 0
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.open(ctx, dir); err != nil {
		return res, fmt.Errorf("preparing the bench: %w", err)
	}
	return measure(ctx, b)
}

// httpBench is the service, the echo and the loops, all ready.
type httpBench struct {
	ask
	options Options
	token   hsm.Config
	hsm     *hsm.Token // the service's
	config  assembly.Config
	service visitor
	bare    visitor // of the echo
	bodies  [][]byte
	head    func(path string) []byte // of a request, with the access token, up to the value of Content-Length
	loops   []*bare
	threads int // of the loop, whichever number is best
	seed    uint64
	closers []func() error
}

func (b *httpBench) close() error {
	var errs []error
	for _, f := range slices.Backward(b.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// compare runs the rounds: loop, service and echo in turn.
func compare(ctx context.Context, b *httpBench) (res Result, err error) {
	if err := b.limits(ctx); err != nil {
		return res, fmt.Errorf("preparing the bench: %w", err)
	}
	if err := b.warm(ctx); err != nil {
		return res, err
	}
	b.hsm.Timed()
	var ops, limits, ratios, outside, byLoop, client, module, loops, echoes []float64
	for range b.options.Rounds {
		loop, got, bare, err := b.round(ctx)
		if err != nil {
			return res, err
		}
		limit := loop.perS()
		if b.echo {
			limit = min(limit, bare.perS())
		}
		ops, limits, ratios = append(ops, got.perS()), append(limits, limit), append(ratios, got.perS()/limit)
		more := got.cpuUS() - loop.cpuUS()
		outside, byLoop, client = append(outside, more), append(byLoop, more/loop.cpuUS()), append(client, got.clientUS())
		module, loops, echoes = append(module, got.moduleUS()), append(loops, loop.cpuUS()), append(echoes, bare.cpuUS())
	}
	slices.Sort(ratios)
	return Result{Name: b.name, OpsPerS: median(ops), LimitPerS: median(limits), Ratio: median(ratios), Unit: b.unit,
		Limit: fmt.Sprintf(b.limit, b.threads), Callers: b.callers, Rounds: b.options.Rounds, Ratios: ratios,
		CPUOutsideModuleUS: median(outside), CPUOutsideByLoop: median(byLoop), ClientCPUUS: median(client),
		ModuleCPUUS: median(module), LoopCPUUS: median(loops), EchoCPUUS: median(echoes), MemoryMiB: peakMemory()}, nil
}

// round measures the three sides in short slices, in turn, so that what
// disturbs one disturbs all.
func (b *httpBench) round(ctx context.Context) (loop, service, echo tally, err error) {
	slices, d := 6, b.options.Round/6
	if b.records > 1 { // a slice holds several requests of each caller
		slices, d = 1, 4*b.options.Round
	}
	for range slices {
		if err = b.loop(&loop, b.threads, d); err != nil {
			break
		}
		spent := b.hsm.Spent()
		if err = service.add(ctx, b.service, d, b.records); err != nil {
			err = fmt.Errorf("measuring the service: %w", err)
			break
		}
		service.module += b.hsm.Spent() - spent
		if !b.echo {
			continue
		}
		if err = echo.add(ctx, b.bare, d, 1); err != nil {
			err = fmt.Errorf("measuring the echo: %w", err)
			break
		}
	}
	return loop, service, echo, err
}

// warm runs each side once and finds the best number of threads for the loop.
func (b *httpBench) warm(ctx context.Context) error {
	best := 0.0
	for _, n := range []int{1, 2, 8} {
		var t tally
		if err := b.loop(&t, n, b.options.Round); err != nil {
			return err
		}
		if t.perS() > best {
			best, b.threads = t.perS(), n
		}
	}
	sides := []visitor{b.service}
	if b.echo {
		sides = append(sides, b.bare)
	}
	for _, c := range sides {
		if err := new(tally).add(ctx, c, b.options.Round, 1); err != nil {
			return fmt.Errorf("warming up: %w", err)
		}
	}
	return nil
}

// loop runs the C loop on n threads for about d.
func (b *httpBench) loop(t *tally, n int, d time.Duration) error {
	const batch = 50
	end := time.Now().Add(d)
	counts, errs := make([]int, n), make([]error, n)
	stop := t.start()
	var wg sync.WaitGroup
	for i := range n {
		b.seed += 1 << 32
		seed := b.seed
		wg.Go(func() {
			for time.Now().Before(end) && errs[i] == nil {
				_, _, errs[i] = b.loops[i].run(batch, seed+uint64(counts[i]))
				counts[i] += batch
			}
		})
	}
	wg.Wait()
	total := 0
	for _, c := range counts {
		total += c
	}
	stop(total)
	return errors.Join(errs...)
}

// tally adds up slices of one side.
type tally struct {
	n         int
	took, cpu time.Duration
	client    time.Duration // CPU of the client's process
	module    time.Duration // CPU of the module in the service
}

// start begins a slice; what it returns ends it.
func (t *tally) start() func(n int) {
	begin, cpu := time.Now(), processCPU()
	return func(n int) {
		t.n += n
		t.took += time.Since(begin)
		t.cpu += processCPU() - cpu
	}
}

func (t tally) perS() float64 { return float64(t.n) / t.took.Seconds() }

// cpuUS is the process's CPU time per operation, in microseconds.
func (t tally) cpuUS() float64 { return t.each(t.cpu) }

// clientUS and moduleUS are the CPU time of the client and of the module per operation.
func (t tally) clientUS() float64 { return t.each(t.client) }
func (t tally) moduleUS() float64 { return t.each(t.module) }

// each is d per operation, in microseconds.
func (t tally) each(d time.Duration) float64 {
	return float64(d.Nanoseconds()) / 1000 / float64(max(t.n, 1))
}

// add has a server called for d and adds what was done: so many records with each
// call.
func (t *tally) add(ctx context.Context, v visitor, d time.Duration, records int) error {
	stop := t.start()
	done, err := v.run(ctx, d)
	stop(done.N * records)
	t.client += done.CPU
	return err
}

// processCPU is the CPU time that this process has used.
func processCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakMemory is the most memory that this process, with the limit in it, ever
// had resident.
func peakMemory() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Maxrss) / 1024
}
