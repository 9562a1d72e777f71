package kernel

import (
	"sync/atomic"

	"github.com/kube-verdict/kube-verdict/nft"
)

// Conn is a lasting connection to nf_tables in one network namespace. Closing
// a connection waits for the kernel to free what was deleted through it (8 to
// 16 ms), so keep one. It is not safe for concurrent use.
type Conn struct {
	socket
	stats Stats
	// commits counts the transactions for monitor, if there is one; busy is 1 while
	// another may be done or not.
	commits, busy atomic.Uint32
	monitor       *Monitor
	// deleted is told what deleted elements had counted.
	deleted func(nft.ID, string, nft.Count)
}

// TellDeleted has f called, in Commit, with what each deleted element of a counted
// set had counted.
func (c *Conn) TellDeleted(f func(table nft.ID, set string, count nft.Count)) { c.deleted = f }

// begun is the most transactions that the kernel can have done.
func (c *Conn) begun() uint32 {
	busy := c.busy.Load()
	return c.commits.Load() + busy
}

// Stats counts what a Conn has sent since it was opened.
type Stats struct {
	Transactions uint64 // committed
	Messages     uint64 // netlink messages in them
	Added        uint64 // elements added in them
	Deleted      uint64 // elements deleted in them
	Bytes        uint64 // bytes sent
}

// Socket buffers in bytes. They bound a transaction: 64 MiB hold a million
// elements. The kernel charges them only as far as they are used.
const (
	sendBuffer    = 64 << 20
	receiveBuffer = 8 << 20
)

// Open connects to nf_tables in the network namespace that the file
// descriptor netns refers to, or in the calling thread's if it is 0.
func Open(netns int) (*Conn, error) {
	s, err := openSocket(netns, sendBuffer, receiveBuffer, false)
	if err != nil {
		return nil, err
	}
	return &Conn{socket: s}, nil
}

// Stats says what has been sent so far.
func (c *Conn) Stats() Stats { return c.stats }
