package nft

import (
	"fmt"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// SetPriority gives the packet the priority that a map has for its Key; without
// an element the next rule follows. Without a map it takes the priority away.
type SetPriority struct {
	Key []Field
	Map string
}

// Text is the statement in nft's syntax.
func (s SetPriority) Text(f Family) string {
	if s.Map == "" {
		return "meta priority set none"
	}
	return fmt.Sprintf("meta priority set %s map @%s", fieldsText(f, s.Key), s.Map)
}

// Program is the statement as the kernel's expressions.
func (s SetPriority) Program(f Family) []Expression {
	set := &expr.Meta{Key: expr.MetaKeyPRIORITY, Register: register(0), SourceRegister: true}
	if s.Map == "" {
		return program(&expr.Immediate{Register: register(0), Data: word(0)}, set)
	}
	return append(load(f, s.Key), program(
		&expr.Lookup{SourceRegister: register(0), DestRegister: register(0), IsDestRegSet: true, SetName: s.Map}, set)...)
}

// Remember writes an element into a map, or without Data into a set, from the
// packet itself, for a while. An element that is there already keeps its data and
// lives on for another while.
type Remember struct {
	Map     string
	Key     []Field
	Data    []Field
	Timeout time.Duration // whole seconds
}

// Text is the statement in nft's syntax.
func (s Remember) Text(f Family) string {
	data := ""
	if len(s.Data) > 0 {
		data = " : " + fieldsText(f, s.Data)
	}
	return fmt.Sprintf("update @%s { %s timeout %s%s }", s.Map, fieldsText(f, s.Key), DurationText(s.Timeout), data)
}

// Program is the statement as the kernel's expressions.
func (s Remember) Program(f Family) []Expression {
	write := &expr.Dynset{SrcRegKey: register(0), SetName: s.Map, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: s.Timeout}
	code := load(f, s.Key)
	if len(s.Data) > 0 {
		data := (KeyLen(f, s.Key) + 15) / 16 * 4 // nft begins at a 128-bit register, too
		code = append(code, loadAt(f, data, s.Data)...)
		write.SrcRegData = register(data)
	}
	return append(code, program(write)...)
}

// DurationText is a time as nft lists it: days, hours, minutes and seconds.
func DurationText(d time.Duration) string {
	seconds := int64(d / time.Second)
	text := ""
	for _, unit := range []struct {
		name string
		size int64
	}{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}} {
		if n := seconds / unit.size; n > 0 {
			text += fmt.Sprintf("%d%s", n, unit.name)
			seconds %= unit.size
		}
	}
	if text == "" {
		return "0s"
	}
	return text
}
