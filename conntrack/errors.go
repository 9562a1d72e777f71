package conntrack

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errInterrupted says that an answer is not whole: the table was resized while it
// was read, or the socket had no room.
var errInterrupted = errors.New("the kernel's answer is not complete")

// explain adds to an error from the kernel what an operator can do about it.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: reading and deleting flows needs CAP_NET_ADMIN in this network namespace: run as root, or give the container the NET_ADMIN capability", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: this kernel gives no access to its flow table: it needs CONFIG_NF_CT_NETLINK (load the module with: modprobe nf_conntrack_netlink)", err)
	}
	return err
}
