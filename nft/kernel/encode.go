package kernel

import (
	"encoding/binary"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
)

// maxKept is the size in bytes up to which trim keeps the buffer: enough for most
// changes, far less than a load.
const maxKept = 1 << 16

// trim forgets a large buffer.
func trim(e *nfnetlink.Encoder) {
	if cap(e.B) > maxKept {
		e.B = nil
	}
}

// attrs calls f for each attribute in b; the type comes without its flags.
func attrs(b []byte, f func(typ uint16, value []byte)) {
	for typ, value, rest := nfnetlink.Attribute(b); value != nil; typ, value, rest = nfnetlink.Attribute(rest) {
		f(typ, value)
	}
}

const nfgen = nfnetlink.Header

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func beUint32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func beUint64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
