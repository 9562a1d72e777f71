package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/internal/testbed"
	"github.com/kube-verdict/kube-verdict/nfnetlink"
	"github.com/kube-verdict/kube-verdict/nft"
)

// The kernel of the tests has nf_tables and lets root program it, so these
// errors are made by hand: none is of one operation.
func TestErrorsSayWhatToDo(t *testing.T) {
	for _, test := range []struct {
		errno unix.Errno
		want  string
	}{
		{unix.EPERM, "needs CAP_NET_ADMIN"},
		{unix.EPROTONOSUPPORT, "CONFIG_NF_TABLES"},
		{unix.EOPNOTSUPP, "CONFIG_NF_TABLES"},
	} {
		err := explain(fmt.Errorf("open: %w", test.errno))
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v is explained as %q, want that it says %q", test.errno, err, test.want)
		}
		if !errors.Is(err, test.errno) {
			t.Errorf("%q is no longer %v", err, test.errno)
		}
	}
	if err := explain(unix.EEXIST); err != unix.EEXIST {
		t.Errorf("an error with nothing to add became %q", err)
	}
	if err := explain(nil); err != nil {
		t.Errorf("no error became %q", err)
	}
}

// The error of an operation is about that operation, whatever it is of a batch.
func TestAnOperationIsRefused(t *testing.T) {
	table := &nft.Table{Family: nft.IPv4, Name: "t"}
	b := &batch{tx: nft.Transaction{{Table: table}}, sent: []sent{{seq: 7, ops: 1}}}
	answer := func(seq uint32, errno unix.Errno) nfnetlink.Message {
		return nfnetlink.Message{Type: unix.NLMSG_ERROR, Seq: seq, Body: binary.NativeEndian.AppendUint32(nil, -uint32(errno))}
	}
	for _, errno := range []unix.Errno{unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT} {
		err := b.refused(answer(7, errno), errno)
		if got, want := err.Error(), "add table ip t: "+errno.Error(); got != want || !errors.Is(err, errno) {
			t.Errorf("the operation's error is %q, want %q", got, want)
		}
		var of *OpError
		if err := b.refused(answer(6, errno), errno); errors.As(err, &of) || !strings.Contains(err.Error(), "CONFIG_NF_TABLES") {
			t.Errorf("the batch's error is %q", err)
		}
	}
}

// A kernel that sends no offset names no element, unless the message has just one.
func TestNoElementIsNamed(t *testing.T) {
	ns := testbed.NewTestNamespace(t)
	// Without NETLINK_EXT_ACK no kernel sends one.
	nl, err := nfnetlink.Dial(nfnetlink.Config{NetNS: ns.Fd(), SendBuffer: sendBuffer, ReceiveBuffer: receiveBuffer, Datagram: 1 << 18})
	if err != nil {
		t.Fatal(err)
	}
	conn := &Conn{socket: socket{nl: nl}}
	t.Cleanup(func() { _ = conn.Close() })
	set := &nft.Set{Name: "s", Key: []nft.Field{nft.DestPort{}}, Verdicts: true}
	table := &nft.Table{Family: nft.IPv4, Name: "t", Sets: []*nft.Set{set}, Chains: []*nft.Chain{{Name: "c"}}}
	var tx nft.Transaction
	tx.AddTable(table)
	if err := conn.Commit(tx); err != nil {
		t.Fatal(err)
	}
	element := func(port byte, to string) nft.Op {
		return nft.Op{Table: table, Set: set, Element: nft.Element{Key: "\x00" + string(port) + "\x00\x00", Goto: to}}
	}
	var refused *OpError
	err = conn.Commit(nft.Transaction{element(1, "c"), element(2, "c"), element(3, "nowhere")})
	if !errors.As(err, &refused) || refused.Among != 3 || !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v (%+v), want none of the three named", err, refused)
	}
	const want = "one of 3 operations, the first of which is add element ip t s { 1 : goto c }: no such file or directory"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	err = conn.Commit(nft.Transaction{element(3, "nowhere")})
	if !errors.As(err, &refused) || refused.Among != 0 || refused.Op.Element.Goto != "nowhere" {
		t.Errorf("%v (%+v), want it named", err, refused)
	}
}
