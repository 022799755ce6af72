package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rs/zerolog"

	"github.com/ringfence/ringfence/tools/pce"
)

type userCommand struct {
	pce.Data `embed:""`
	Name     string `help:"Name to sign in with." required:""`
}

// Run makes the user. The password comes from standard input: arguments and environment can be seen by others.
func (c *userCommand) Run(ctx context.Context, log zerolog.Logger) error {
	password, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the password: %w", err)
	}
	opened, err := pce.Open(ctx, c.Data, log)
	if err != nil {
		return err
	}
	defer opened.Close()
	if err := opened.EnsureUser(ctx, c.Name, strings.TrimRight(password, "\r\n")); err != nil {
		return fmt.Errorf("user %s: %w", c.Name, err)
	}
	return nil
}
