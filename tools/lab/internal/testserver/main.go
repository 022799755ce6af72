// Command testserver is the program in the pods of the lab's own test: a web server that says who it is and whom it
// sees, and the few clients that the test runs by kubectl exec. It is not part of a lab.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	commands := map[string]func(args []string) error{"serve": serve, "get": get, "dial": dial, "write": write, "read": read, "list": list}
	if len(args) == 0 || commands[args[0]] == nil {
		return fmt.Errorf("usage: testserver serve | get tcp4|tcp6 URL | dial SOCKET | write FILE TEXT | read FILE | list FOLDER")
	}
	return commands[args[0]](args[1:])
}

// serve answers every request with the pod's name and the client's address.
func serve([]string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Println("serving as", name)
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s %s\n", name, host)
	})}
	return server.ListenAndServe()
}

// get fetches args[1] over the network args[0].
func get(args []string) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, args[0], address)
	}}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	resp, err := client.Get(args[1])
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

func dial(args []string) error {
	conn, err := net.Dial("unix", args[0])
	if err != nil {
		return err
	}
	return conn.Close()
}

func write(args []string) error { return os.WriteFile(args[0], []byte(args[1]), 0o644) }

func read(args []string) error {
	content, err := os.ReadFile(args[0])
	fmt.Print(string(content))
	return err
}

func list(args []string) error {
	entries, err := os.ReadDir(args[0])
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	fmt.Println(strings.Join(names, "\n"))
	return err
}
