package clas

// bag is a set that takes little room while it is small: a list, with an index beside it once searching would cost more. The
// zero value is empty. Its order is none that output may follow.
type bag[T comparable] struct {
	items []T
	index map[T]int32
}

// searched is the number of items up to which a list is searched.
const searched = 12

// add reports whether the item is new.
func (b *bag[T]) add(item T) bool {
	if b.find(item) >= 0 {
		return false
	}
	if b.index != nil {
		b.index[item] = int32(len(b.items))
	}
	b.items = append(b.items, item)
	if b.index == nil && len(b.items) > searched {
		b.index = make(map[T]int32, 2*len(b.items))
		for i, x := range b.items {
			b.index[x] = int32(i)
		}
	}
	return true
}

// remove reports whether the item was there.
func (b *bag[T]) remove(item T) bool {
	at := b.find(item)
	if at < 0 {
		return false
	}
	last := len(b.items) - 1
	moved := b.items[last]
	b.items[at] = moved
	var none T
	b.items[last] = none
	b.items = b.items[:last]
	if b.index != nil {
		b.index[moved] = int32(at)
		delete(b.index, item)
	}
	if last == 0 {
		*b = bag[T]{}
	}
	return true
}

func (b *bag[T]) find(item T) int {
	if b.index != nil {
		if at, there := b.index[item]; there {
			return int(at)
		}
		return -1
	}
	for i, x := range b.items {
		if x == item {
			return i
		}
	}
	return -1
}

func (b *bag[T]) len() int { return len(b.items) }
