package testbed

import (
	"fmt"
	"time"
)

// Wait repeats a check until it succeeds, and returns its last error when that
// takes longer than timeout. It looks often at first, as most things are quick.
func Wait(timeout time.Duration, what string, check func() error) error {
	deadline := time.Now().Add(timeout)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s: %w", timeout, what, err)
		}
		time.Sleep(pause)
	}
}
