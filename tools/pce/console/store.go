package console

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/ringfence/ringfence/tools/pce/journal"
)

// store is the state with the journal behind it. Writers take turns; readers never wait for the disk.
type store struct {
	journal *journal.Journal
	now     func() time.Time

	writing sync.Mutex
	stale   bool // an append failed without saying whether it took effect; guarded by writing

	mu      sync.RWMutex
	state   *state
	changed chan struct{} // closed and replaced with every edit
}

func openStore(ctx context.Context, j *journal.Journal) (*store, error) {
	s := &store{
		journal: j, state: newState(), changed: make(chan struct{}),
		now: func() time.Time { return time.Now().UTC().Truncate(time.Millisecond) },
	}
	return s, j.Replay(ctx, 0, s.state.fold)
}

// view calls read with the state, which must not be kept.
func (s *store) view(read func(*state)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	read(s.state)
}

// watch gives the cursor of a cluster, the active version, and a channel that is closed by the next edit.
func (s *store) watch(cluster string) (cursor uint64, active int64, changed <-chan struct{}) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.cursor(cluster), s.state.activeVersion(), s.changed
}

// write runs change and stores the edit that it made. Its error, or the disk's, leaves everything as it was. An edit
// that changes nothing is not stored.
func (s *store) write(ctx context.Context, author, event string, change func(*transaction) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.refresh(ctx); err != nil {
		return err
	}
	tx := &transaction{state: s.state, edit: edit{Event: event, Author: author, At: s.now(), LastID: s.state.lastID, Action: actionOf(ctx)}}
	if err := change(tx); err != nil {
		return err
	}
	if tx.empty() {
		return nil
	}
	return s.commit(ctx, &tx.edit)
}

// refresh folds what the journal holds beyond the state, after an append whose outcome stayed open.
func (s *store) refresh(ctx context.Context) error {
	if !s.stale {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.journal.Replay(ctx, s.state.last, s.state.fold); err != nil {
		return err
	}
	s.stale = false
	s.announce()
	return nil
}

func (s *store) commit(ctx context.Context, e *edit) error {
	encoded, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an edit: %w", err)
	}
	// A client that hangs up must not leave the outcome of its edit open.
	number, err := s.journal.Append(context.WithoutCancel(ctx), encoded, s.state.last)
	if err != nil {
		s.stale = true
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.apply(number, e)
	s.announce()
	return nil
}

func (s *store) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// transaction collects an edit. The state is the one before it; get sees what the edit made of an object.
type transaction struct {
	state *state
	edit  edit
	made  map[key]*record
	taken map[lookup]string
}

func (t *transaction) empty() bool {
	return len(t.edit.Put) == 0 && len(t.edit.Remove) == 0 && len(t.edit.Revert) == 0 && t.edit.Provision == nil
}

// number gives the next integer id; ids are never used twice.
func (t *transaction) number() string {
	t.edit.LastID++
	return strconv.FormatInt(t.edit.LastID, 10)
}

// get gives an object as it will be after the edit, nil where it will not be.
func (t *transaction) get(table, id string) *record {
	if r, changed := t.made[key{table, id}]; changed {
		return r
	}
	return t.state.get(table, id)
}

func (t *transaction) put(table, id string, r *record) *record {
	at := key{table, id}
	t.edit.Put = append(t.edit.Put, put{key: at, Record: r})
	t.note(at, r)
	for _, l := range lookups(table, r) {
		if t.taken == nil {
			t.taken = map[lookup]string{}
		}
		t.taken[l] = id
	}
	return r
}

func (t *transaction) note(at key, r *record) {
	if t.made == nil {
		t.made = map[key]*record{}
	}
	t.made[at] = r
}

// create adds an object.
func (t *transaction) create(table, id, owner string, doc document) *record {
	return t.put(table, id, &record{
		Doc: doc, Owner: owner,
		CreatedAt: t.edit.At, CreatedBy: t.edit.Author, UpdatedAt: t.edit.At, UpdatedBy: t.edit.Author,
	})
}

// update writes an object anew.
func (t *transaction) update(table, id string, doc document) *record {
	r := *t.get(table, id)
	r.Doc, r.UpdatedAt, r.UpdatedBy = doc, t.edit.At, t.edit.Author
	return t.put(table, id, &r)
}

func (t *transaction) remove(table, id string) {
	at := key{table, id}
	t.edit.Remove = append(t.edit.Remove, at)
	t.note(at, nil)
}

// discard marks a draft deleted where it is active, and removes it where it is not.
func (t *transaction) discard(table, id string) {
	if t.state.get(activeTables+table, id) == nil {
		t.remove(draftTables+table, id)
		return
	}
	r := *t.get(draftTables+table, id)
	r.Deleted, r.UpdatedAt, r.UpdatedBy = true, t.edit.At, t.edit.Author
	t.put(draftTables+table, id, &r)
}

func newUUID() string { return uuid.NewString() }
