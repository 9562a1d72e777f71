package cli

import (
	"context"
	"io"
)

// interruptible is a reader whose Read ends when the context does: nobody may ever write
// to a terminal or a pipe again.
type interruptible struct {
	ctx  context.Context // Read has no parameter for it
	from io.Reader
}

func (r interruptible) Read(p []byte) (int, error) {
	type result struct {
		text []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text := make([]byte, len(p)) // p is the caller's again when the context ends
		n, err := r.from.Read(text)
		done <- result{text[:n], err}
	}()
	select {
	case got := <-done:
		return copy(p, got.text), got.err
	case <-r.ctx.Done():
		return 0, context.Cause(r.ctx)
	}
}
