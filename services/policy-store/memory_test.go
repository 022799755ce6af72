package policystore

import "testing"

func TestGarbageIsAShareOfWhatIsInUse(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 1 << 20: 100, 40 << 20: 100, 80 << 20: 50, 130 << 20: 30, 10 << 30: 30} {
		if got := garbageShare(live); got != want {
			t.Errorf("%d bytes in use: %d percent, want %d", live, got, want)
		}
	}
}
