package clas

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestPackLikeIsPackPairs packs maps that are like others, and not.
func TestPackLikeIsPackPairs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pairs := func() map[string]string {
		m := map[string]string{}
		for range random.IntN(5) {
			m[fmt.Sprint("k", random.IntN(4))] = strings.Repeat("v", random.IntN(3)*70+random.IntN(3))
		}
		return m
	}
	same := 0
	for range 5000 {
		first, second := pairs(), pairs()
		like, want := packPairs(first, nil), packPairs(second, nil)
		if got := packLike(like, second); got != want {
			t.Fatalf("%v like %v is packed as %q, want %q", second, first, got, want)
		}
		size := 0
		for k, v := range second {
			size += textSize(k) + textSize(v)
		}
		if size != len(want) {
			t.Fatalf("%v takes %d bytes, and %d were counted", second, len(want), size)
		}
		if len(first) > 1 && slices.Equal(slices.Sorted(maps.Keys(first)), slices.Sorted(maps.Keys(second))) {
			same++
		}
	}
	if same < 50 {
		t.Errorf("only %d pairs of maps had the same keys", same)
	}
	for _, n := range []int{0, 1, 127, 128, 16383, 16384} {
		if got, want := textSize(strings.Repeat("x", n)), len(appendText(nil, strings.Repeat("x", n))); got != want {
			t.Errorf("a text of %d bytes takes %d, want %d", n, got, want)
		}
	}
}
