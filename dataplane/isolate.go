package dataplane

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
	"github.com/kube-verdict/kube-verdict/nft/kernel"
)

// program commits the changes. If the kernel names the element that it refuses, the
// others go ahead of the Service that it is of; if it names none, or refuses something
// else, each half of them goes by itself, until the one is found that it does not take.
func (w *Writer) program(changes []Change) ([]Failure, error) {
	err := w.commit(changes)
	if err == nil {
		return nil, nil
	}
	var refused *kernel.OpError
	switch {
	case !errors.As(err, &refused) || !w.blames(refused.Err):
		return nil, err
	case len(changes) == 1:
		return []Failure{{Name: changes[0].Name, Err: err}}, nil
	}
	first, then := changes[:len(changes)/2], changes[len(changes)/2:]
	if i := w.ownerOf(refused, changes); i >= 0 {
		then = changes[i : i+1]
		first = append(changes[:i:i], changes[i+1:]...)
	}
	failures, err := w.program(first)
	if err != nil {
		return failures, err
	}
	more, err := w.program(then)
	return append(failures, more...), err
}

// maxShort bounds how often the kernel is asked for less when it has no memory:
// each refusal costs it 10 ms, and one Service after the other would be blamed for
// what is nobody's fault.
const maxShort = 32

// blames reports whether the refusal of an operation is about the Services that were to
// be programmed. It is not if the kernel is not as the account has it, or if somebody
// else owns the table.
func (w *Writer) blames(err error) bool {
	switch {
	case errors.Is(err, unix.EPERM):
		return false
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY):
		return w.blame
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
		// Less at once may do, and one Service may ask for too much.
		w.short++
		return w.short <= maxShort
	}
	return true
}

// ownerOf is which of the changes the element is of that the kernel named, or -1.
func (w *Writer) ownerOf(refused *kernel.OpError, changes []Change) int {
	op := &refused.Op
	if !op.IsElement() || refused.Among > 0 {
		return -1
	}
	var elements []nft.Placed
	for i := range changes {
		elements = elements[:0]
		if old, had := w.applied[changes[i].Name]; had {
			elements = w.layout.Elements(elements, &old)
		}
		if !changes[i].Gone {
			elements = w.layout.Elements(elements, &changes[i].Service)
		}
		for j := range elements {
			if elements[j].Set == op.Set && elements[j].Key == op.Element.Key {
				return i
			}
		}
	}
	return -1
}
