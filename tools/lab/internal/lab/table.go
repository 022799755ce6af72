package lab

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ringfence/ringfence/tools/lab/internal/control"
)

// Table writes the status for people. Ages are counted to now.
func Table(out io.Writer, s control.Status, now time.Time) error {
	if s.State == control.Down {
		_, err := fmt.Fprintf(out, "The lab in %s is down.\n", s.Dir)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, line := range lines(s, now) {
		_, _ = fmt.Fprintln(w, line) // Flush tells of any error
	}
	return w.Flush()
}

func lines(s control.Status, now time.Time) []string {
	head := fmt.Sprintf("The lab in %s is %s", s.Dir, s.State)
	if s.Problem != "" {
		head += ": " + s.Problem
	}
	out := []string{head, "API server " + s.Server, "kubeconfig " + s.Kubeconfig, "", "COMPONENT\tNODE\tSTATE\tPID\tAGE\tRESTARTS"}
	for _, c := range s.Components {
		out = append(out, fmt.Sprintf("%s\t%s\t%s\t%d\t%s\t%d", c.Name, cmp.Or(c.Node, "-"), c.State, c.PID, age(c.Started, now), c.Restarts))
	}
	if len(s.Nodes) > 0 {
		out = append(out, "", "NODE\tSTATE\tADDRESSES\tPODS")
	}
	for _, n := range s.Nodes {
		out = append(out, fmt.Sprintf("%s\t%s\t%s\t%s", n.Name, n.State, strings.Join(n.Addresses, " "), strings.Join(n.PodCIDRs, " ")))
	}
	return out
}

func age(started, now time.Time) string {
	if started.IsZero() {
		return "-"
	}
	return now.Sub(started).Round(time.Second).String()
}
