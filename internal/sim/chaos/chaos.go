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
	Faults   []string      // names; empty: all, in turn
	Peace    time.Duration // between faults, so that they are told apart; 0: 500 ms
	// Told is called after each fault with how many requests were answered.
	Told func(answered int64)

	prepare func(context.Context, *fleet) error // before any process runs
}

// Row is what happened while one fault was played, once or more.
type Row struct {
	Fault    string        `json:"fault"`
	Times    int           `json:"times"`
	Requests int64         `json:"requests"` // sent, repetitions too
	Answered int64         `json:"acknowledged"`
	Again    int64         `json:"repeated"` // sent again, as nobody knew whether it was done
	Lost     int64         `json:"lost"`
	Recovery time.Duration `json:"recovery_ns"` // the longest, from the fault's end until every process served
}

// Report is what a run came to.
type Report struct {
	Rows     []Row         `json:"faults"`
	Requests int64         `json:"requests"`
	Answered int64         `json:"acknowledged"`
	Tokens   int           `json:"tokens"`
	Moves    int           `json:"money_moves"`
	Lost     int64         `json:"lost"`
	Wrong    []string      `json:"wrong"` // every promise that was not kept
	Records  uint64        `json:"audit_records"`
	Memory   []float64     `json:"memory_mib"` // of each process, at its end
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
	rep.Rows, err = play(ctx, f, l, c)
	l.finish(c.Requests)
	if err != nil {
		return rep, errors.Join(err, l.failure())
	}
	rep.Requests, rep.Answered = l.sent.Load(), l.answered.Load()
	if err := f.judge(ctx, l, &rep); err != nil {
		return rep, err
	}
	rep.Took = time.Since(began)
	return rep, nil
}

// play plays each fault at least once, and goes round until so many requests
// were answered.
func play(ctx context.Context, f *fleet, l *load, c Config) ([]Row, error) {
	rows := make([]Row, len(c.Faults))
	for n := 0; ctx.Err() == nil && l.failure() == nil; n++ {
		if n >= len(c.Faults) && l.answered.Load() >= c.Requests {
			break
		}
		i := n % len(c.Faults)
		fault := faults[slices.Index(Names(), c.Faults[i])]
		rows[i].Fault = fault.name
		if fault.once && rows[i].Times > 0 {
			continue
		}
		l.row.Store(int64(i))
		err := f.suffer(ctx, l, fault, n/len(c.Faults), c.Peace, &rows[i])
		l.row.Store(between)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", fault.name, err)
		}
		if c.Told != nil {
			c.Told(l.answered.Load())
		}
	}
	return rows, errors.Join(ctx.Err(), l.failure())
}

// suffer plays one fault and waits until everything works again.
func (f *fleet) suffer(ctx context.Context, l *load, what fault, round int, peace time.Duration, row *Row) error {
	sent, answered, again := l.sent.Load(), l.answered.Load(), l.again.Load()
	if err := what.play(ctx, f, round); err != nil {
		return err
	}
	healed := time.Now()
	if err := l.serves(ctx); err != nil {
		return err
	}
	row.Recovery = max(row.Recovery, time.Since(healed))
	if err := wait(ctx, peace); err != nil {
		return err
	}
	row.Times++
	row.Requests += l.sent.Load() - sent
	row.Answered += l.answered.Load() - answered
	row.Again += l.again.Load() - again
	return nil
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
	fmt.Fprintln(t, "fault\ttimes\trequests\tacknowledged\tsent again\tlost\trecovery\t")
	for _, x := range r.Rows {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%.1f s\t\n", x.Fault, x.Times, x.Requests, x.Answered, x.Again, x.Lost, x.Recovery.Seconds())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d requests, %d acknowledged in %.0f s: %d tokens and %d movements of money; %d lost; "+
		"%d audit records\nmemory of the processes: %.0f MiB\n",
		r.Requests, r.Answered, r.Took.Seconds(), r.Tokens, r.Moves, r.Lost, r.Records, r.Memory)
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
