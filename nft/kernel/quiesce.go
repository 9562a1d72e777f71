package kernel

import (
	"time"

	"golang.org/x/sys/unix"
)

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL of linux/membarrier.h.
const membarrierGlobal = 1 << 0

// settleTime is waited where the kernel can't be asked. It is far more than a
// packet takes through the hooks, even with a virtual CPU taken away meanwhile.
const settleTime = 100 * time.Millisecond

// Quiesce returns when every packet that was between two lookups as it was
// called has left the netfilter hooks. The kernel runs a packet through all
// chains of a hook in one RCU read-side section (nf_hook in
// linux/netfilter.h), so a grace period is enough, and membarrier(2) waits for
// one: some 10 ms. Unlike the rest of Conn it is safe to call at any time.
func (c *Conn) Quiesce() {
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
	if errno != 0 {
		// Forbidden by a seccomp filter, or full dynticks (nohz_full) is on.
		time.Sleep(settleTime)
	}
}
