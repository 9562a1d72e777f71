package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/kube-verdict/kube-verdict/nfnetlink"
)

// encoder packs netlink messages one after another into one buffer. A message
// and a nested attribute are opened and closed; their lengths are filled in
// when they close.
type encoder struct {
	b []byte
}

// maxKept is the size in bytes up to which trim keeps the buffer: enough for most
// changes, far less than a load.
const maxKept = 1 << 16

// trim forgets a large buffer.
func (e *encoder) trim() {
	if cap(e.b) > maxKept {
		e.b = nil
	}
}

// message opens a message and gives its place for close.
func (e *encoder) message(typ, flags uint16, seq uint32, family byte, resource uint16) int {
	at := len(e.b)
	e.b = append(e.b, 0, 0, 0, 0)
	e.b = binary.NativeEndian.AppendUint16(e.b, typ)
	e.b = binary.NativeEndian.AppendUint16(e.b, unix.NLM_F_REQUEST|flags)
	e.b = binary.NativeEndian.AppendUint32(e.b, seq)
	e.b = append(e.b, 0, 0, 0, 0)
	e.b = append(e.b, family, unix.NFNETLINK_V0)
	e.b = binary.BigEndian.AppendUint16(e.b, resource)
	return at
}

func (e *encoder) closeMessage(at int) {
	binary.NativeEndian.PutUint32(e.b[at:], uint32(len(e.b)-at))
}

// nest opens an attribute that holds others and gives its place for closeNest.
func (e *encoder) nest(typ uint16) int {
	at := len(e.b)
	e.header(typ|unix.NLA_F_NESTED, 0)
	return at
}

func (e *encoder) closeNest(at int) {
	binary.NativeEndian.PutUint16(e.b[at:], uint16(len(e.b)-at))
}

func (e *encoder) header(typ uint16, n int) {
	e.b = binary.NativeEndian.AppendUint16(e.b, uint16(unix.SizeofNlAttr+n))
	e.b = binary.NativeEndian.AppendUint16(e.b, typ)
}

func (e *encoder) pad() {
	for len(e.b) != nfnetlink.Align(len(e.b)) {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) bytes(typ uint16, v []byte) {
	e.header(typ, len(v))
	e.b = append(e.b, v...)
	e.pad()
}

// raw is bytes for a string that needs no terminating zero.
func (e *encoder) raw(typ uint16, v string) {
	e.header(typ, len(v))
	e.b = append(e.b, v...)
	e.pad()
}

// string is a string with its terminating zero, as names are.
func (e *encoder) string(typ uint16, v string) {
	e.header(typ, len(v)+1)
	e.b = append(e.b, v...)
	e.b = append(e.b, 0)
	e.pad()
}

func (e *encoder) uint32(typ uint16, v uint32) {
	e.header(typ, 4)
	e.b = binary.BigEndian.AppendUint32(e.b, v)
}

// attrs calls f for each attribute in b; the type comes without its flags.
func attrs(b []byte, f func(typ uint16, value []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofNlAttr || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofNlAttr:n])
		b = b[min(nfnetlink.Align(n), len(b)):]
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
