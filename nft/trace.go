package nft

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Limit goes on for so many packets in a second.
type Limit struct{ Rate uint64 }

// Text is the statement in nft's syntax.
func (s Limit) Text(Family) string {
	return fmt.Sprintf("limit rate %d/second burst %d packets", s.Rate, s.burst())
}

// burst is how many may come at once.
func (s Limit) burst() uint32 { return uint32(min(s.Rate, 1<<31)) }

// Program is the statement as the kernel's expressions.
func (s Limit) Program(Family) []Expression {
	return program(&expr.Limit{Type: expr.LimitTypePkts, Rate: s.Rate, Unit: expr.LimitTimeSecond, Burst: s.burst()})
}

// Trace has the kernel tell of each rule that the packet comes by from now on.
type Trace struct{}

// Text is the statement in nft's syntax.
func (Trace) Text(Family) string { return "meta nftrace set 1" }

// Program is the statement as the kernel's expressions.
func (Trace) Program(Family) []Expression {
	return program(
		&expr.Immediate{Register: register(0), Data: []byte{1}},
		&expr.Meta{Key: expr.MetaKeyNFTRACE, Register: register(0), SourceRegister: true})
}

// Traced is what the kernel tells of a packet at one point.
type Traced struct {
	// ID is the same for all that is told of one packet while it is in the hooks.
	ID    uint32
	Table ID
	Chain string
	// Rule is the rule's handle, 0 at the end of a chain.
	Rule uint64
	// Verdict is the code of what follows: NF_DROP, NF_ACCEPT, or one of NFT_GOTO
	// and its like; Target is the chain that it leads to.
	Verdict int32
	Target  string
	// Ends says that this is the end of a base chain: its policy.
	Ends bool
	// Packet is the packet as it came into the base chain; told once in each.
	Packet *TracedPacket
}

// Follows is what comes after, as nft has it: " goto cluster-6", or nothing.
func (t *Traced) Follows() string {
	if t.Verdict == CodeContinue {
		return ""
	}
	return " " + VerdictText(t.Verdict, t.Target)
}

// TracedPacket is a packet as the kernel tells of it.
type TracedPacket struct {
	Source, Dest netip.AddrPort
	Protocol     uint8
	// In and Out are numbers of interfaces, 0 for none.
	In, Out uint32
}

// Verdict codes of the kernel.
const (
	CodeDrop     = 0
	CodeAccept   = 1
	CodeContinue = unix.NFT_CONTINUE
	CodeJump     = unix.NFT_JUMP
	CodeGoto     = unix.NFT_GOTO
	CodeReturn   = unix.NFT_RETURN
)
