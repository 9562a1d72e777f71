package nfnetlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Encoder packs messages one after another into B. A message, and an attribute that
// holds others, are opened and closed with the place that opening gave: closing fills
// in the length.
type Encoder struct{ B []byte }

// Message opens a message.
func (e *Encoder) Message(typ, flags uint16, seq uint32, family byte, resource uint16) (at int) {
	at = len(e.B)
	e.B = append(e.B, 0, 0, 0, 0)
	e.B = binary.NativeEndian.AppendUint16(e.B, typ)
	e.B = binary.NativeEndian.AppendUint16(e.B, unix.NLM_F_REQUEST|flags)
	e.B = binary.NativeEndian.AppendUint32(e.B, seq)
	e.B = append(e.B, 0, 0, 0, 0, family, unix.NFNETLINK_V0)
	e.B = binary.BigEndian.AppendUint16(e.B, resource)
	return at
}

// CloseMessage closes the message at a place.
func (e *Encoder) CloseMessage(at int) {
	binary.NativeEndian.PutUint32(e.B[at:], uint32(len(e.B)-at))
}

// Nest opens an attribute that holds others.
func (e *Encoder) Nest(typ uint16) (at int) {
	at = len(e.B)
	e.Header(typ|unix.NLA_F_NESTED, 0)
	return at
}

// CloseNest closes the attribute at a place.
func (e *Encoder) CloseNest(at int) {
	binary.NativeEndian.PutUint16(e.B[at:], uint16(len(e.B)-at))
}

// Header begins an attribute of n bytes, which Pad ends.
func (e *Encoder) Header(typ uint16, n int) {
	e.B = binary.NativeEndian.AppendUint16(e.B, uint16(unix.SizeofNlAttr+n))
	e.B = binary.NativeEndian.AppendUint16(e.B, typ)
}

// Pad fills up to where the next attribute may begin.
func (e *Encoder) Pad() {
	for len(e.B) != Align(len(e.B)) {
		e.B = append(e.B, 0)
	}
}

// Bytes adds an attribute.
func (e *Encoder) Bytes(typ uint16, v ...byte) {
	e.Header(typ, len(v))
	e.B = append(e.B, v...)
	e.Pad()
}

// Text is Bytes for a string, which gets no zero at its end.
func (e *Encoder) Text(typ uint16, v string) {
	e.Header(typ, len(v))
	e.B = append(e.B, v...)
	e.Pad()
}

// Name adds a string with a zero at its end, as names have.
func (e *Encoder) Name(typ uint16, v string) {
	e.Header(typ, len(v)+1)
	e.B = append(append(e.B, v...), 0)
	e.Pad()
}

// Uint16 adds a number in network order.
func (e *Encoder) Uint16(typ, v uint16) {
	e.Header(typ, 2)
	e.B = binary.BigEndian.AppendUint16(e.B, v)
	e.Pad()
}

// Uint32 adds a number in network order.
func (e *Encoder) Uint32(typ uint16, v uint32) {
	e.Header(typ, 4)
	e.B = binary.BigEndian.AppendUint32(e.B, v)
}

// Native adds a number in the machine's byte order, which few attributes have.
func (e *Encoder) Native(typ uint16, v uint32) {
	e.Header(typ, 4)
	e.B = binary.NativeEndian.AppendUint32(e.B, v)
}

// Attribute takes the first attribute off b; its type comes without its flags. A value
// of nil is for the end.
func Attribute(b []byte) (typ uint16, value, rest []byte) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return 0, nil, nil
	}
	typ = binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	return typ, b[unix.SizeofNlAttr:n], b[min(Align(n), len(b)):]
}
