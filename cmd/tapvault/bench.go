package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/internal/bench"
	"github.com/tapvault/tapvault/internal/cli"
	"github.com/tapvault/tapvault/internal/hugepage"
	"github.com/tapvault/tapvault/internal/softtoken"
	"github.com/tapvault/tapvault/internal/sysmon"
)

func (a *app) benchCommand() *cobra.Command {
	var o bench.Options
	c := &cobra.Command{
		Use:   "bench NAME",
		Short: "Measure, and in the same run the bare limit that it is held to",
		Long:  "Measures on a scratch token. What can be measured:\n" + benchList(),
		Args:  cli.Exactly(1, "bench NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !knownBench(args[0]) {
				return cli.Misusef("reading arguments: no bench is called %s: see `tapvault bench --help`", args[0])
			}
			if _, err := softtoken.Find(o.Module); err != nil && o.Module != bench.AllModules {
				return cli.Misusef("reading flags: --module: %v", err)
			}
			fmt.Fprintf(a.stderr, "tapvault: measuring %s, which takes a little while\n", args[0])
			if err := errors.Join(hugepage.Use(), sysmon.Rest(bench.CallsAtOnce(args[0]))); err != nil { // as serve does
				fmt.Fprintf(a.stderr, "tapvault: the figures will be lower than they could be: %v\n", err)
			}
			r, err := bench.Run(cmd.Context(), args[0], o)
			if err != nil {
				return fmt.Errorf("measuring %s: %w", args[0], err)
			}
			if a.json {
				return a.print(r)
			}
			a.printBench(r, o.Apart)
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&o.Apart, "apart", false, "over HTTP: the client is a process of its own, so that CPU and memory are the service's")
	f.IntVar(&o.Rounds, "rounds", 0, "paired rounds, 9 or more; 0 means 11")
	f.StringVar(&o.Module, "module", "", "softhsm, which is the default, or nss; for purchase, arqc and tac also all")
	f.DurationVar(&o.Round, "round", 0, "how long one side of a round takes; 0 means 300ms, for sessions, purchase, arqc and tac 1s")
	f.DurationVar(&o.For, "for", 0, "how long memory is measured; 0 means 10m")
	return c
}

// printBench prints what was measured; apart says that the client was another process.
func (a *app) printBench(r bench.Result, apart bool) {
	if r.Memory != nil {
		a.printMemory(r)
		return
	}
	parts := r.Parts
	if len(parts) == 0 || parts[0].Module == "" {
		parts = []bench.Result{r}
	}
	for _, p := range parts {
		a.printMeasure(p)
	}
	if l := r.Lookup; l != nil {
		fmt.Fprintf(a.stdout, "  it costs %.2f times as much\n%s: %.0f/s, limit %.0f/s; it costs %.2f times as much\n"+
			"  one operation: %s\n  the limit:     %s\n", r.CostRatio, l.Name, l.OpsPerS, l.LimitPerS, l.CostRatio, l.Unit, l.Limit)
	}
	if r.CPUOutsideModuleUS != 0 {
		client := "with the client's" // the client is in the process
		if r.ClientCPUUS != 0 {
			client = fmt.Sprintf("and %.0f of the client", r.ClientCPUUS)
		}
		fmt.Fprintf(a.stdout, "  CPU outside the module: %.0f microseconds for each, %s: %.2f of the loop's\n", r.CPUOutsideModuleUS, client, r.CPUOutsideByLoop)
		fmt.Fprintf(a.stdout, "  CPU in the module:      %.0f here, %.0f in the loop\n", r.ModuleCPUUS, r.LoopCPUUS)
	}
	if r.MemoryMiB != 0 {
		who := "client and limit"
		if apart {
			who = "the limit"
		}
		fmt.Fprintf(a.stdout, "  memory at most:         %.0f MiB, with %s in the process\n", r.MemoryMiB, who)
	}
}

// benchClientCommand is what a bench over HTTP runs as its client.
func (a *app) benchClientCommand() *cobra.Command {
	return &cobra.Command{Use: bench.ClientCommand, Hidden: true, Args: cli.Exactly(0, bench.ClientCommand),
		RunE: func(cmd *cobra.Command, _ []string) error { return bench.Client(cmd.Context(), a.stdin, a.stdout) }}
}

func (a *app) printMemory(r bench.Result) {
	fmt.Fprintf(a.stdout, "%s: %.0f MiB at most in %.0f s, %.0f/s at %d callers\n", r.Name, r.MemoryMiB, r.Memory.ForS, r.OpsPerS, r.Callers)
	for i, t := range r.Memory.Thirds {
		fmt.Fprintf(a.stdout, "  %s third: %.0f MiB (%.0f to %.0f)\n", []string{"first", "second", "last"}[i], t.Median, t.Min, t.Max)
	}
	if r.Memory.Recycled > 0 {
		fmt.Fprintf(a.stdout, "  the module was recycled %d times; calls waited %.0f ms the last time\n", r.Memory.Recycled, 1000*r.Memory.TookS)
	}
	fmt.Fprintf(a.stdout, "  it grew by %.0f bytes with each; a C loop of the same PKCS #11 calls alone grows by %.0f\n"+
		"  one operation: %s\n  the limit:     %s\n", r.Memory.GrowthBytes, r.Memory.ModuleBytes, r.Unit, r.Limit)
}

func (a *app) printMeasure(r bench.Result) {
	where := ""
	if r.Module != "" {
		where = fmt.Sprintf(" on %s at %d callers", r.Module, r.Callers)
	}
	fmt.Fprintf(a.stdout, "%s%s: %.0f/s, limit %.0f/s, ratio %.2f (median of %d paired rounds, %.2f to %.2f)\n"+
		"  one operation: %s\n  the limit:     %s\n", r.Name, where, r.OpsPerS, r.LimitPerS, r.Ratio, r.Rounds,
		r.Ratios[0], r.Ratios[len(r.Ratios)-1], r.Unit, r.Limit)
}

func benchList() (text string) {
	for _, b := range bench.Benches {
		text += fmt.Sprintf("  %-12s  %s\n", b.Name, b.What)
	}
	return text
}

func knownBench(name string) bool {
	for _, b := range bench.Benches {
		if b.Name == name {
			return true
		}
	}
	return false
}
