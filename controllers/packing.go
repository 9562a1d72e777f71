package controllers

import (
	"encoding/binary"
	"errors"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// What packets depend on in an EndpointSlice, as a text of bytes: the type of addresses, the
// ports (name, protocol, number) and the endpoints (address, conditions, node, hints for zones
// and for nodes), each list after its length. Numbers are varints, texts come after their
// length, and what may be missing after one more than that, or after 0. It takes half the room
// of protobuf. Reading it makes a few large objects in place of many small ones, as texts are
// parts of what is read.

func appendText(to, text []byte) []byte {
	return append(binary.AppendUvarint(to, uint64(len(text))), text...)
}

// appendOptional appends a text, nil where it is missing.
func appendOptional(to, text []byte) []byte {
	if text == nil {
		return binary.AppendUvarint(to, 0)
	}
	return append(binary.AppendUvarint(to, 1+uint64(len(text))), text...)
}

// readSlice reads what a PackedSlice holds.
func readSlice(from string, s *discoveryv1.EndpointSlice) error {
	r := reader{rest: from}
	s.AddressType = discoveryv1.AddressType(r.text())
	if n := r.count(); n > 0 {
		s.Ports = make([]discoveryv1.EndpointPort, n)
	}
	texts := make([]string, 2*len(s.Ports))
	numbers := make([]int32, len(s.Ports))
	for i := range s.Ports {
		p := &s.Ports[i]
		p.Name = r.optional(&texts[2*i])
		p.Protocol = (*corev1.Protocol)(r.optional(&texts[2*i+1]))
		if n := r.number(); n > 0 {
			numbers[i] = int32(uint32(n - 1))
			p.Port = &numbers[i]
		}
	}
	s.Endpoints = make([]discoveryv1.Endpoint, r.count())
	texts = make([]string, 2*len(s.Endpoints))
	said := [3]*bool{nil, new(bool), new(bool)}
	*said[2] = true
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if r.optional(&texts[2*i]) != nil {
			e.Addresses = texts[2*i : 2*i+1 : 2*i+1]
		}
		flags := r.number()
		e.Conditions = discoveryv1.EndpointConditions{Ready: r.flag(said, flags), Serving: r.flag(said, flags>>2), Terminating: r.flag(said, flags>>4)}
		e.NodeName = r.optional(&texts[2*i+1])
		if zones := r.count(); zones > 0 {
			e.Hints = &discoveryv1.EndpointHints{}
			for range zones - 1 {
				e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: r.text()})
			}
			for range r.count() {
				e.Hints.ForNodes = append(e.Hints.ForNodes, discoveryv1.ForNode{Name: r.text()})
			}
		}
	}
	if r.bad || r.rest != "" {
		return errors.New("it is not as it was packed")
	}
	return nil
}

// reader reads from a packed text.
type reader struct {
	rest string
	bad  bool
}

// fail is for what can't have been packed.
func (r *reader) fail() { r.rest, r.bad = "", true }

func (r *reader) number() uint64 {
	var n uint64
	for i := 0; i < len(r.rest) && i < binary.MaxVarintLen64; i++ {
		b := r.rest[i]
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			r.rest = r.rest[i+1:]
			return n
		}
	}
	r.fail()
	return 0
}

// count is a number of things, of which each takes a byte, at least.
func (r *reader) count() int {
	n := r.number()
	if n > uint64(len(r.rest))+1 {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) text() string { return r.take(r.number()) }

func (r *reader) take(length uint64) string {
	if length > uint64(len(r.rest)) {
		r.fail()
		return ""
	}
	text := r.rest[:length]
	r.rest = r.rest[length:]
	return text
}

// optional reads a text into a place for it, which it gives, or nil if there is none.
func (r *reader) optional(to *string) *string {
	length := r.number()
	if length == 0 {
		return nil
	}
	*to = r.take(length - 1)
	return to
}

func (r *reader) flag(said [3]*bool, flags uint64) *bool {
	if flags &= 3; flags < 3 {
		return said[flags]
	}
	r.fail()
	return nil
}
