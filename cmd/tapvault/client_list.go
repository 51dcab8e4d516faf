package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tapvault/tapvault/access"
	"github.com/tapvault/tapvault/identity"
	"github.com/tapvault/tapvault/identity/clientdb"
	"github.com/tapvault/tapvault/internal/cli"
)

func (a *app) clientListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List registered clients",
		Args:  cli.Exactly(0, "client list"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClients(cmd.Context(), func(db *clientdb.Store) error {
				all, err := db.List(cmd.Context())
				if err != nil {
					return fmt.Errorf("listing clients: %w", err)
				}
				return a.printClients(all)
			})
		},
	}
}

type clientRow struct {
	ID        string `json:"id"`
	Name      string `json:"name,omitempty"`
	Role      string `json:"role"`
	Scopes    string `json:"scopes"`
	Requestor string `json:"requestor,omitempty"`
	Terminal  string `json:"terminal,omitempty"`
	Disabled  bool   `json:"disabled"`
}

func (a *app) printClients(all []identity.Client) error {
	rows := make([]clientRow, 0, len(all))
	for _, c := range all {
		rows = append(rows, clientRow{c.ID, c.Name, string(c.Role), identity.Scope(c.Scopes), c.Requestor, c.Terminal, c.Disabled})
	}
	if a.json {
		return a.print(rows)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tROLE\tSTATE\tSCOPES (--json lists them)")
	for _, r := range rows {
		state := "enabled"
		if r.Disabled {
			state = "disabled"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.ID, r.Role, state, ofRole(access.Role(r.Role), strings.Fields(r.Scopes)))
	}
	return w.Flush()
}

// ofRole says how many of a role's scopes a client has.
func ofRole(role access.Role, has []string) string {
	all := access.ForRole(role)
	var lacks []string
	for _, s := range all {
		if !slices.Contains(has, string(s)) {
			lacks = append(lacks, string(s))
		}
	}
	switch {
	case len(lacks) == 0:
		return "all of its role"
	case len(lacks) <= 2:
		return "all of its role but " + strings.Join(lacks, " and ")
	}
	return fmt.Sprintf("%d of the %d of its role", len(all)-len(lacks), len(all))
}
