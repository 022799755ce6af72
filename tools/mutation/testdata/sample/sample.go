// Package sample is for the tests of the mutation run: some of its behaviour is held by its tests, some is not.
package sample

// Grade is held but for the boundary at 50.
func Grade(points int, late bool) string {
	switch {
	case points > 50 && !late:
		return "passed"
	case points < 0:
		return "impossible"
	}
	return "failed"
}

// Sum is held but for what it counts.
func Sum(numbers ...int) (sum, count int) {
	for _, n := range numbers {
		if n == 0 {
			continue
		}
		sum += n
		count++
	}
	return sum, count
}

// Kind is held.
func Kind(v any) string {
	name := "other"
	switch v.(type) {
	case int:
		name = "number"
	case string:
		name = "text"
	}
	return name
}

// Between is held, and ends in a loop when its step is missing.
func Between(from, to int) (n int) {
	for at := from; at <= to; at = at + 1 {
		n += max(1, 0)
	}
	return n
}

// Either is held.
func Either(a, b bool) (bool, *bool) {
	both := a || b
	return both, &both
}
