package agent

import "testing"

func TestGarbageIsBoundedInLargeClusters(t *testing.T) {
	for _, tc := range []struct {
		live uint64
		want int
	}{{0, 100}, {10 << 20, 100}, {32 << 20, 50}, {64 << 20, 25}, {1 << 30, 25}} {
		if got := gcPercent(tc.live); got != tc.want {
			t.Errorf("with %d bytes in use: %d %%, want %d", tc.live, got, tc.want)
		}
	}
}

func TestStartCollectsNothingWhileLittleIsInUse(t *testing.T) {
	for _, tc := range []struct {
		live uint64
		want int
	}{{0, 1500}, {4 << 20, 1500}, {32 << 20, 100}, {56 << 20, 25}, {64 << 20, 25}, {1 << 30, 25}} {
		if got := startPercent(tc.live); got != tc.want {
			t.Errorf("with %d bytes in use: %d %%, want %d", tc.live, got, tc.want)
		}
	}
}
