package testbed_test

import (
	"slices"
	"testing"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
)

func TestSortSlots(t *testing.T) {
	const a, b = "10.96.0.1 . tcp . 80", "10.96.0.2 . tcp . 80"
	got := testbed.SortSlots([]string{
		a + " . 0 : 10.0.0.2 . 80", a + " . 1 : 10.0.0.1 . 80", // another order
		b + " . 0 : 10.0.0.2 . 80", b + " . 2 : 10.0.0.1 . 80", // a hole
		a + ` comment "ns/web" : 0:2`,
	})
	want := []string{
		a + " . 0 : 10.0.0.1 . 80", a + " . 1 : 10.0.0.2 . 80", a + ` comment "ns/web" : 0:2`,
		b + " . 0 : 10.0.0.2 . 80", b + " . 2 : 10.0.0.1 . 80",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
