package eventlog

import (
	"maps"
	"slices"
)

// objects are those of one kind that a node holds, by id. Its zero value is empty. An object is of the window that the node
// is at, unless it was fetched and is ahead of it.
type objects[T any] struct {
	held   map[string]T
	ahead  map[string]uint64 // the last window that is in an object which is ahead
	shared bool              // held is somebody else's, too, and must be copied before it is changed
}

// takesFrom says whether an object is held that lacks what a window brings.
func (o *objects[T]) takesFrom(id string, window uint64) bool {
	_, is := o.held[id]
	return is && o.ahead[id] < window
}

// put holds an object as of the window that is being applied.
func (o *objects[T]) put(id string, object T) {
	o.own()
	o.held[id] = object
}

// fetched holds an object that has everything up to a window, which the node may not have reached yet.
func (o *objects[T]) fetched(id string, object T, window, reached uint64) {
	o.put(id, object)
	if window > reached {
		if o.ahead == nil {
			o.ahead = map[string]uint64{}
		}
		o.ahead[id] = window
	}
}

// reached takes in that the node is at a window.
func (o *objects[T]) reached(window uint64) {
	maps.DeleteFunc(o.ahead, func(_ string, of uint64) bool { return of <= window })
}

func (o *objects[T]) remove(id string) {
	o.own()
	delete(o.held, id)
	delete(o.ahead, id)
}

// keepOnly drops what is not wanted.
func (o *objects[T]) keepOnly(wanted map[string]bool) {
	for id := range o.held {
		if !wanted[id] {
			o.remove(id)
		}
	}
}

// lacking gives the ids that are wanted and not held, sorted.
func (o *objects[T]) lacking(wanted map[string]bool) []string {
	var out []string
	for id := range wanted {
		if _, is := o.held[id]; !is {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// share gives all of them, for good: what changes later changes in a copy.
func (o *objects[T]) share() map[string]T {
	o.own()
	o.shared = true
	return o.held
}

func (o *objects[T]) own() {
	switch {
	case o.held == nil:
		o.held = map[string]T{}
	case o.shared:
		o.held = maps.Clone(o.held)
	}
	o.shared = false
}
