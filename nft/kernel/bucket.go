package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const day = 24 * 60 * 60

// perDay is the rate of a token bucket as the kernel has it.
func perDay(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

// bucket appends the expression of a token bucket, which gets rate tokens in a day.
func (b *batch) bucket(typ uint16, rate string, burst uint32) {
	limit := b.Nest(typ)
	b.Name(unix.NFTA_EXPR_NAME, "limit")
	data := b.Nest(unix.NFTA_EXPR_DATA)
	b.Text(unix.NFTA_LIMIT_RATE, rate)
	b.Text(unix.NFTA_LIMIT_UNIT, perDay(day))
	b.Uint32(unix.NFTA_LIMIT_BURST, burst)
	b.Uint32(unix.NFTA_LIMIT_TYPE, unix.NFT_LIMIT_PKTS)
	b.CloseNest(data)
	b.CloseNest(limit)
}

// bucket reads such an expression. The burst is 0 if it is another.
func bucket(expression []byte) (rate []byte, burst uint32) {
	if exprName(expression) != "limit" {
		return nil, 0
	}
	data := within(expression, unix.NFTA_EXPR_DATA)
	if unit := within(data, unix.NFTA_LIMIT_UNIT); string(unit) != perDay(day) {
		return nil, 0
	}
	return within(data, unix.NFTA_LIMIT_RATE), beUint32(within(data, unix.NFTA_LIMIT_BURST))
}
