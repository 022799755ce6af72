package policyfile

import (
	"context"
	"errors"
	"net/http"
	"time"

	api "github.com/ringfence/ringfence/libs/pce"
)

// patient waits where a console has had too many requests: a large policy takes more than it lets through in a minute. What was refused so
// has not taken effect, and is asked again.
type patient struct {
	Console
	wait func(ctx context.Context, d time.Duration) error
}

// patiently makes a console one that is waited for, once.
func patiently(c Console) Console {
	if _, is := c.(patient); is {
		return c
	}
	return patient{c, func(ctx context.Context, d time.Duration) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		}
	}}
}

func (p patient) try(ctx context.Context, call func() error) error {
	for {
		err := call()
		var refused *api.Error
		if !errors.As(err, &refused) || refused.Status != http.StatusTooManyRequests || refused.RetryAfter <= 0 {
			return err
		}
		if waited := p.wait(ctx, refused.RetryAfter); waited != nil {
			return errors.Join(err, waited)
		}
	}
}

func (p patient) Documents(ctx context.Context, path string) (found []api.Document, err error) {
	err = p.try(ctx, func() error { found, err = p.Console.Documents(ctx, path); return err })
	return found, err
}

func (p patient) Document(ctx context.Context, href string) (found api.Document, err error) {
	err = p.try(ctx, func() error { found, err = p.Console.Document(ctx, href); return err })
	return found, err
}

func (p patient) Create(ctx context.Context, path string, fields any) (made api.Document, err error) {
	err = p.try(ctx, func() error { made, err = p.Console.Create(ctx, path, fields); return err })
	return made, err
}

func (p patient) Update(ctx context.Context, href string, fields any) error {
	return p.try(ctx, func() error { return p.Console.Update(ctx, href, fields) })
}

func (p patient) Delete(ctx context.Context, href string) error {
	return p.try(ctx, func() error { return p.Console.Delete(ctx, href) })
}
