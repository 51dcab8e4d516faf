//go:build linux

// Package chaos breaks a service of several processes under load, in every way
// that an operator may meet, and holds what is left to what was answered.
//
// Nothing in it stands in for anything: the processes are `tapvault serve`, their
// database is a PostgreSQL server with a standby, the wire is TLS 1.3. Requests
// have known answers; each is sent again, under one Idempotency-Key and to
// whichever process, until it is answered. The promise: no acknowledged write is
// lost, no token number is borne twice, no money moves twice, and everything
// works again by itself.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// Config says what to play.
type Config struct {
	Bin      string        // the tapvault program
	Dir      string        // a new folder for the service; it stays
	Nodes    int           // processes; 0: 3
	Callers  int           // 0: 12
	Requests int64         // at least so many are answered; 0: until every fault was played
	Rounds   int           // how often each fault is played, but for those that can be once; 0: once, and once more for every 400,000 requests
	Faults   []string      // names; empty: all, in turn
	Peace    time.Duration // at least, between faults, so that they are told apart; 0: 500 ms
	// Told is called now and then with how many faults were played, and how many
	// requests were answered.
	Told func(played int, answered int64)

	prepare func(context.Context, *fleet) error // before any process runs
	env     []string                            // of processes, besides that of this one
}

// Row is what happened while one fault was played, once or more.
type Row struct {
	Fault    string        `json:"fault"`
	Times    int           `json:"times"`
	Requests int64         `json:"requests"` // sent, repetitions too
	Answered int64         `json:"acknowledged"`
	Again    int64         `json:"repeated"` // sent again, as nobody knew whether it was done
	Broken   int64         `json:"broken"`   // of those, sent to a process that hung up or failed
	Busy     int64         `json:"busy"`     // sent again, as the process said that it was busy and when to come back
	Lost     int64         `json:"lost"`
	Recovery time.Duration `json:"recovery_ns"` // the longest, from the fault's end until every process served and was whole
	Took     time.Duration `json:"took_ns"`     // all times together
}

// PerSecond is how many requests were acknowledged in a second.
func (r Row) PerSecond() float64 { return float64(r.Answered) / max(r.Took.Seconds(), 1e-9) }

// Report is what a run came to.
type Report struct {
	Rows     []Row         `json:"faults"`
	Peace    Row           `json:"peace"` // what happened while nothing was broken
	Requests int64         `json:"requests"`
	Answered int64         `json:"acknowledged"`
	Tokens   int           `json:"tokens"`
	Moves    int           `json:"money_moves"`
	Opened   int64         `json:"card_numbers"` // that were given out
	Lost     int64         `json:"lost"`
	Wrong    []string      `json:"wrong"` // every promise that was not kept
	Records  uint64        `json:"audit_records"`
	Proofs   int           `json:"audit_proofs"` // of single records, asked for over HTTP
	Memory   []float64     `json:"memory_mib"`   // of each process, at its end
	Took     time.Duration `json:"took_ns"`
}

// Names lists the faults.
func Names() (names []string) {
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

// Check says whether all names are faults.
func Check(names []string) error {
	for _, n := range names {
		if !slices.Contains(Names(), n) {
			return fmt.Errorf("no fault is called %q", n)
		}
	}
	return nil
}

// Play runs the service under load, breaks it, and judges what is left.
func Play(ctx context.Context, c Config) (rep Report, err error) {
	c.Nodes, c.Callers = max(c.Nodes, 2), max(c.Callers, 1)
	if len(c.Faults) == 0 {
		c.Faults = Names()
	}
	if c.Peace == 0 {
		c.Peace = 500 * time.Millisecond
	}
	if c.Rounds == 0 {
		c.Rounds = 1 + int(c.Requests/400_000)
	}
	began := time.Now()
	f, err := newFleet(ctx, c)
	if err != nil {
		return rep, fmt.Errorf("making the service: %w", err)
	}
	defer func() { err = errors.Join(err, f.close()) }()
	l, err := newLoad(ctx, f, c)
	if err != nil {
		return rep, err
	}
	l.begin(ctx)
	rep.Rows, rep.Peace, err = play(ctx, f, l, c)
	l.finish()
	if err != nil {
		return rep, errors.Join(err, l.failure())
	}
	now := l.count()
	rep.Requests, rep.Answered, rep.Opened = now.sent, now.answered, l.opened.Load()
	if err := f.judge(ctx, l, &rep); err != nil {
		return rep, err
	}
	rep.Took = time.Since(began)
	return rep, nil
}

// play plays each fault in turn, as many rounds as there are, spread evenly over
// the requests. What can be played once comes in the last round.
func play(ctx context.Context, f *fleet, l *load, c Config) (rows []Row, peace Row, err error) {
	rows, peace.Fault = make([]Row, len(c.Faults)), "(none)"
	all, played := int64(c.Rounds*len(c.Faults)), 0
	told := func() {
		if c.Told != nil {
			c.Told(played, l.answered.Load())
		}
	}
	for n := range all {
		i, round := n%int64(len(c.Faults)), int(n)/len(c.Faults)
		fault := faults[slices.Index(Names(), c.Faults[i])]
		rows[i].Fault = fault.name
		if fault.once && round < c.Rounds-1 {
			continue
		}
		if err := l.quiet(ctx, c.Peace, c.Requests*n/all, &peace, told); err != nil {
			return rows, peace, err
		}
		l.row.Store(i)
		err := f.suffer(ctx, l, fault, round, c.Peace, &rows[i])
		l.row.Store(between)
		if err != nil {
			return rows, peace, fmt.Errorf("%s: %w", fault.name, err)
		}
		played++
		told()
	}
	return rows, peace, l.quiet(ctx, 0, c.Requests, &peace, told)
}

// quiet lets the load alone for a while, and until so many requests were answered.
func (l *load) quiet(ctx context.Context, least time.Duration, answered int64, row *Row, told func()) error {
	defer l.during(row)()
	for end := time.Now().Add(least); time.Now().Before(end) || l.answered.Load() < answered; told() {
		if err := errors.Join(wait(ctx, 100*time.Millisecond), l.failure()); err != nil {
			return err
		}
	}
	return nil
}

// suffer plays one fault and waits until everything works again.
func (f *fleet) suffer(ctx context.Context, l *load, what fault, round int, peace time.Duration, row *Row) error {
	defer l.during(row)()
	if err := what.play(ctx, f, l, round); err != nil {
		return err
	}
	healed := time.Now()
	if err := l.serves(ctx); err != nil {
		return err
	}
	if what.whole != nil {
		if err := what.whole(ctx, f); err != nil {
			return err
		}
	}
	row.Recovery = max(row.Recovery, time.Since(healed))
	row.Times++
	return errors.Join(wait(ctx, peace), l.failure())
}

// during adds what happens from now until its result is called to a row.
func (l *load) during(row *Row) (end func()) {
	was, began := l.count(), time.Now()
	return func() {
		now := l.count()
		row.Requests += now.sent - was.sent
		row.Answered += now.answered - was.answered
		row.Again += now.again - was.again
		row.Broken += now.broken - was.broken
		row.Busy += now.busy - was.busy
		row.Took += time.Since(began)
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WriteTable prints a report for people.
func WriteTable(w io.Writer, r Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "fault\ttimes\trequests\tacknowledged\ta second\tsent again\tcame when busy\tlost\trecovery\t")
	for _, x := range append(slices.Clone(r.Rows), r.Peace) {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.0f\t%d\t%d\t%d\t%.1f s\t\n", x.Fault, x.Times, x.Requests, x.Answered, x.PerSecond(), x.Again, x.Busy, x.Lost, x.Recovery.Seconds())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d requests, %d acknowledged in %.0f s: %d tokens, %d movements of money, %d card numbers given out; %d lost; "+
		"%d audit records, %d proven one by one\nmemory of the processes: %.0f MiB\n",
		r.Requests, r.Answered, r.Took.Seconds(), r.Tokens, r.Moves, r.Opened, r.Lost, r.Records, r.Proofs, r.Memory)
	if err == nil && len(r.Wrong) == 0 {
		_, err = fmt.Fprintln(w, "everything acknowledged is there once, and signed checkpoints prove every record")
	}
	for _, bad := range r.Wrong {
		if _, err := fmt.Fprintln(w, "NOT KEPT: "+bad); err != nil {
			return err
		}
	}
	return err
}

// folder makes Dir, which must not hold anything.
func folder(dir string) error {
	if all, err := os.ReadDir(dir); err == nil && len(all) > 0 {
		return fmt.Errorf("%s is not empty", dir)
	}
	return os.MkdirAll(filepath.Dir(dir), 0o700)
}
