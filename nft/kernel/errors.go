package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// OpError is the operation of a transaction that the kernel refused, and why.
// Nothing of that transaction has happened.
type OpError struct {
	Op nft.Op
	// Among is how many operations from Op on share the message that the kernel refused,
	// if it does not name the one: kernels without b53c11664250 do not. It is 0 if Op is
	// the one.
	Among int
	Err   error
}

func (e *OpError) Error() string {
	if e.Among > 0 {
		return fmt.Sprintf("one of %d operations, the first of which is %s: %v", e.Among, e.Op.Text(), e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Op.Text(), e.Err)
}

func (e *OpError) Unwrap() error { return e.Err }

// ErrUnknown says that a transaction's outcome could not be learned: it may
// have happened. Read the tables back.
var ErrUnknown = errors.New("no answer from the kernel to a transaction")

// explain adds what an operator can do about it to an error of the socket, of a batch
// as a whole, or of a request. The error of one operation in a batch is about that
// operation.
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

// owned adds to the refusal of an operation who owns its table, if somebody else does:
// the kernel lets nobody but the owner change such a table.
func (c *Conn) owned(err error) error {
	var refused *OpError
	if !errors.As(err, &refused) || !errors.Is(err, unix.EPERM) {
		return err
	}
	id := refused.Op.Table.ID()
	port, failed := c.owner(id)
	if failed != nil || port == 0 {
		return err
	}
	// The kernel numbers a process' first socket as the process.
	who := fmt.Sprintf("the process with the netlink port %d", port)
	if name, failed := os.ReadFile(fmt.Sprintf("/proc/%d/comm", port)); failed == nil {
		who = fmt.Sprintf("%q (process %d)", strings.TrimSpace(string(name)), port)
	}
	refused.Err = fmt.Errorf("%w: table %s belongs to %s, which made it with \"flags owner\": nobody else can change it; end that process, or have it delete the table", refused.Err, id, who)
	return err
}

// tableOwnerPort is NFTA_TABLE_OWNER.
const tableOwnerPort = 7

// owner is the netlink port of the socket that owns a table, or 0.
func (c *Conn) owner(id nft.ID) (uint32, error) {
	var port uint32
	err := c.ask(unix.NFT_MSG_GETTABLE, 0, id.Family, func(e *nfnetlink.Encoder) { e.Name(unix.NFTA_TABLE_NAME, id.Name) }, func(body []byte) {
		attrs(body, func(typ uint16, value []byte) {
			if typ == tableOwnerPort {
				port = beUint32(value)
			}
		})
	})
	return port, err
}
