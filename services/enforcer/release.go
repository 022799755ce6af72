package enforcer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ringfence/ringfence/services/enforcer/cri"
	"github.com/ringfence/ringfence/services/enforcer/datapath"
	"github.com/ringfence/ringfence/services/enforcer/nft"
	"github.com/ringfence/ringfence/services/enforcer/podnetns"
)

// Release removes our tables from every pod of the node, with no need of the log, the API server or a running enforcer.
// Unless once is set, it first writes the break-glass file, so that an enforcer which runs here now or later enforces
// nothing until the file is removed. It goes on after errors and returns them together; progress goes to out.
func Release(ctx context.Context, r Runtime, once bool, out io.Writer) error {
	var problems []error
	if !once {
		problems = append(problems, writeBreakGlass(r.breakGlass(), out))
	}
	found, err := findNetns(ctx, r)
	problems = append(problems, err)
	hosts, err := podnetns.FindHosts()
	if err != nil {
		return errors.Join(append(problems, err)...)
	}
	removed := 0
	for _, pod := range found {
		if err := removeFrom(hosts, nft.Backend{}, pod.paths); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", pod.name, err))
			continue
		}
		removed++
	}
	problems = append(problems, say(out, "%d of %d network namespaces are free of Ringfence's tables\n", removed, len(found)))
	return errors.Join(problems...)
}

func say(out io.Writer, format string, args ...any) error {
	if _, err := fmt.Fprintf(out, format, args...); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func writeBreakGlass(path string, out io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the break-glass file: %w", err)
	}
	if err := os.WriteFile(path, []byte("Written by enforcer release. Remove this file to have policy enforced again.\n"), 0o644); err != nil {
		return fmt.Errorf("write the break-glass file: %w", err)
	}
	return say(out, "nothing is enforced on this node until %s is removed\n", path)
}

// location is where the network namespace of a pod may be found.
type location struct {
	name  string
	paths []string
}

// findNetns asks the runtime for pods. Where it does not answer, every network namespace with a name is taken.
func findNetns(ctx context.Context, r Runtime) ([]location, error) {
	sandboxes, err := listOnce(ctx, r)
	var all []location
	for _, s := range sandboxes {
		if len(s.NetnsPaths) > 0 {
			all = append(all, location{"pod " + s.Namespace + "/" + s.Name, s.NetnsPaths})
		}
	}
	if err == nil {
		return all, nil
	}
	named, globErr := filepath.Glob("/run/netns/*")
	for _, path := range named {
		all = append(all, location{path, []string{path}})
	}
	return all, errors.Join(fmt.Errorf("%w; the namespaces below /run/netns were taken instead", err), globErr)
}

func listOnce(ctx context.Context, r Runtime) ([]cri.Sandbox, error) {
	socket, err := r.socket()
	if err != nil {
		return nil, err
	}
	client, err := cri.Connect(socket)
	if err != nil {
		return nil, err
	}
	sandboxes, err := client.List(ctx)
	for _, s := range sandboxes {
		err = errors.Join(err, s.Err)
	}
	return sandboxes, errors.Join(err, client.Close())
}

func removeFrom(hosts podnetns.Hosts, backend datapath.Backend, paths []string) error {
	ns, err := podnetns.Open(hosts, paths...)
	if err != nil {
		return err
	}
	guard, err := backend.Attach(ns)
	if err != nil {
		return errors.Join(err, ns.Close())
	}
	return errors.Join(guard.Remove(), guard.Close(), ns.Close())
}
