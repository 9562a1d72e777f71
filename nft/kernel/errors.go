package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nft"
)

// OpError says which operation of a transaction the kernel refused, and why.
// Nothing of that transaction has happened.
type OpError struct {
	Op  nft.Op
	Err error
}

func (e *OpError) Error() string { return fmt.Sprintf("%s: %v", e.Op.Text(), e.Err) }

func (e *OpError) Unwrap() error { return e.Err }

// ErrUnknown says that a transaction's outcome could not be learned: it may
// have happened. Read the tables back.
var ErrUnknown = errors.New("no answer from the kernel to a transaction")

// explain adds to an error from the kernel what an operator can do about it.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: programming nf_tables needs CAP_NET_ADMIN in this network namespace: run as root, or give the container the NET_ADMIN capability", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return noTables(err)
	}
	return err
}

// noTables is for the errors of a kernel that lacks nf_tables: EPROTONOSUPPORT
// for the socket without nfnetlink, EOPNOTSUPP for a batch and EINVAL for any
// other request without the part of nfnetlink that the requests are for.
func noTables(err error) error {
	return fmt.Errorf("%w: this kernel has no nf_tables: it needs CONFIG_NF_TABLES, CONFIG_NF_TABLES_IPV4 and CONFIG_NF_TABLES_IPV6 (load the module with: modprobe nf_tables)", err)
}
