package main

import (
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/ringfence/ringfence/tools/lab/internal/lab"
)

func TestExitCode(t *testing.T) {
	failed := exec.Command("sh", "-c", "exit 7").Run()
	for _, c := range []struct {
		err  error
		code int
		said bool
	}{
		{nil, 0, false},
		{errors.New("no"), exitFailed, true},
		{fmt.Errorf("up: %w", lab.CheckMachine("darwin", 0)), exitRefused, true},
		{statusCode(exitDown), exitDown, false},
		{failed, 7, false},
	} {
		code, err := exitCode(c.err)
		if code != c.code || (err != nil) != c.said {
			t.Errorf("%v: exit code %d and message %v; want %d and a message: %t", c.err, code, err, c.code, c.said)
		}
	}
}

// TestCommandLine parses every command's example.
func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{
		{"up", "--nodes", "3"},
		{"down"},
		{"status", "-o", "json"},
		{"build"},
		{"load", "main.go"},
		{"pack", "--name", "a:1", "--entrypoint", "/watcher,serve", "--env", "A=b,c", "--symlink", "/bin/sh=busybox", "-o", "w.tar", "bin/watcher=/watcher"},
		{"kubectl", "get", "pods", "-A", "--help"},
		{"exec", "node1", "nft", "list", "ruleset", "-a"},
		{"supervise", "--dir=/x", "--worker"},
	} {
		var c cli
		parser, err := kong.New(&c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(args); err != nil {
			t.Errorf("lab %v: %v", args, err)
		}
		if args[0] == "kubectl" && len(c.Kubectl.Args) != 4 {
			t.Errorf("kubectl gets %q", c.Kubectl.Args)
		}
		if args[0] == "exec" && (c.Exec.Node != "node1" || len(c.Exec.Args) != 4) {
			t.Errorf("exec in %q of %q", c.Exec.Node, c.Exec.Args)
		}
		if args[0] == "pack" && (len(c.Pack.Entrypoint) != 2 || c.Pack.Env[0] != "A=b,c") {
			t.Errorf("pack with entrypoint %q and environment %q", c.Pack.Entrypoint, c.Pack.Env)
		}
	}
}
