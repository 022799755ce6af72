package eventlog

import (
	"context"

	ringfencev1 "github.com/ringfence/ringfence/proto/ringfence/v1"
)

// PublishUnheard stores a window's objects, plans and head as PublishWindow does, and stops before it sends the window.
func PublishUnheard(ctx context.Context, l *Log, w *ringfencev1.Window, o Objects, head *ringfencev1.PolicyHead, plans []*ringfencev1.NodePlan) error {
	if err := l.storeObjects(ctx, w, o, head, plans); err != nil {
		return err
	}
	return l.purgeRemoved(ctx, o, plans)
}
